"""Lets a job that torchrun or Slurm starts again resume by itself.

See also, for killed processes: engine/hooks/{safe_checkpoint,preemption}.py, checkpoints/{writing,resuming}.py.
"""
import json
import os
from pathlib import Path

from mmengine.config import Config

from ...checkpoints.resuming import POINTER
from ...errors import DivergenceError
from ...processes import is_first_process


def use_resume(cfg: Config, resume: str | None) -> None:
    """Have the run resume as --resume says, or from its newest checkpoint where it was started again.

    A run that begins anew removes the pointer of an earlier one in its folder. Otherwise, started again before its
    first checkpoint, it would resume from the earlier run's.

    Args:
        cfg: changed in place; its work_dir is set.
        resume: path of a checkpoint, 'auto' for the newest, or None for a new run.

    Raises:
        DivergenceError: the run had stopped because it diverged, and would diverge again.
    """
    folder = Path(cfg.work_dir)
    if _was_restarted():
        if (folder / POINTER).exists():
            _check_not_diverged(folder)
            resume = 'auto'
    elif resume is None and not cfg.get('resume') and is_first_process():
        (folder / POINTER).unlink(missing_ok=True)
    if resume is not None:
        cfg.resume = True
        cfg.load_from = None if resume == 'auto' else resume


def _check_not_diverged(folder: Path) -> None:
    """Raise DivergenceError if the run stopped by divergence after its newest checkpoint."""
    for path in (folder / 'divergence').glob('*.json'):
        if path.stat().st_mtime_ns > (folder / POINTER).stat().st_mtime_ns and (
                json.loads(path.read_text())['action'] == 'stop'):
            raise DivergenceError(f'not started again: the run diverged, see {path}')


def _was_restarted() -> bool:
    return any(int(os.environ.get(name) or 0) for name in ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT'))
