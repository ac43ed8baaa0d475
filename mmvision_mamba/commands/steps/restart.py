"""Lets a job that torchrun or Slurm starts again resume by itself.

See also, for killed processes: engine/hooks/{safe_checkpoint,preemption}.py, checkpoints/{newest,resuming,writing}.py.
"""
import argparse
import json
from pathlib import Path

from mmengine.config import Config

from ...checkpoints.newest import pointed, saved
from ...checkpoints.resuming import POINTER
from ...engine.changed_settings import read_values
from ...errors import DivergenceError
from ...files import read_text
from ...preflight.given import Given
from ...preflight.read import read_config
from ...printable import shown
from ...processes import print_once, warn_once, was_restarted
from ...work_dirs import ANEW, note, record_of


def use_resume(cfg: Config, resume: str | None) -> str | None:
    """Have the run resume as --resume says, or from its newest checkpoint where it was started again.

    A run that begins anew in the folder of an earlier one notes that, until the pointer is no longer the earlier run's:
    started again before, it begins anew once more.

    Args:
        cfg: changed in place; its work_dir is set.
        resume: path of a checkpoint, 'auto' for the newest, or None for a new run.

    Returns:
        The checkpoint to begin with where there is none to resume from: the config's `load_from`.

    Raises:
        DivergenceError: the run had stopped because it diverged, and would diverge again.
    """
    folder = Path(cfg.work_dir)
    if was_restarted():
        if (folder / POINTER).exists() and not record_of(folder).get(ANEW):
            _check_not_diverged(folder)
            resume = 'auto'
    else:
        note(folder, **{ANEW: resume is None and not cfg.get('resume')})
    if resume is None:
        return None
    begin_from = cfg.get('load_from') if resume == 'auto' else None
    cfg.resume = True
    cfg.load_from = None if resume == 'auto' else resume
    return begin_from


def keep_bands(args: argparse.Namespace) -> None:
    """Have a run that goes on normalise bands as it did before: their mean and deviation are not measured anew.

    They are those of the config that the run has written, unless the user sets some.

    Args:
        args: of the command line; its `cfg_options` gets them.
    """
    if args.resume is None and not was_restarted():
        return
    cfg = read_config(args.config, args.cfg_options, find_data=False)
    settings = cfg.get('custom_data')
    place = 'model.data_preprocessor' if cfg.model.get('data_preprocessor') else 'data_preprocessor'
    names = [f'{place}.{key}' for key in ('mean', 'std')]
    if not isinstance(settings, dict) or settings.get('bands') is None or any(map(Given(cfg), names)):
        return
    stem = Path(args.config).stem
    folder = Path(args.work_dir or cfg.get('work_dir') or Path('work_dirs') / stem) if args.resume in (None, 'auto') \
        else Path(args.resume).parent
    path = folder / f'{stem}.py'
    try:
        written = read_values(read_text(path))
    except (OSError, UnicodeError):
        return
    for key in place.split('.'):
        written = written.get(key) if isinstance(written, dict) else None
    found = [written.get(key) for key in ('mean', 'std')] if isinstance(written, dict) else []
    if found and all(isinstance(values, list) for values in found):
        args.cfg_options = {**(args.cfg_options or {}), **dict(zip(names, found))}
        print_once(f'Bands: mean and std are those that the run began with, of {shown(path)}')


def _check_not_diverged(folder: Path) -> None:
    """Raise DivergenceError if the run stopped by divergence after its newest checkpoint."""
    newest = pointed(folder)
    facts = saved(newest) if newest is not None and newest.is_file() else None
    for path in (folder / 'divergence').glob('*.json'):
        try:
            report = json.loads(read_text(path))
            if report['action'] == 'stop' and (report['time'] > facts.time if facts and 'time' in report else
                                               path.stat().st_mtime_ns > (folder / POINTER).stat().st_mtime_ns):
                raise DivergenceError(f'not started again: the run diverged, see {path}')
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            warn_once(f'{path} can not be read: {error}')
