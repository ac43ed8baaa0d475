"""Which checkpoint to resume from, and what one holds besides mmengine's so that the run goes on bit for bit."""
import os
import random
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError
from .safe_files import PART, peek, why_broken

POINTER = 'last_checkpoint'  # mmengine's name
KEY = 'resume_state'  # of a checkpoint


def random_state() -> dict[str, Tensor]:
    """The state of this process's random number generators, as tensors, which any reader of checkpoints takes."""
    version, words, gauss = random.getstate()
    _, keys, position, has_gauss, cached = np.random.get_state()
    state = dict(
        python=torch.tensor([version, *words]),
        python_gauss=torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        numpy=torch.tensor([*keys.tolist(), position, has_gauss]),
        numpy_gauss=torch.tensor(cached, dtype=torch.float64),
        torch=torch.get_rng_state())
    if torch.cuda.is_available():
        state['cuda'] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Tensor]) -> None:
    """The inverse of `random_state`; a GPU's state is left out where there is none."""
    version, *words = state['python'].tolist()
    *keys, position, has_gauss = state['numpy'].tolist()
    if not 0 <= position <= len(keys):  # NumPy believes it, and would read past its keys
        raise ValueError(f'position {position} in the state of a generator')
    random.setstate((version, tuple(words), next(iter(state['python_gauss'].tolist()), None)))
    np.random.set_state(('MT19937', np.array(keys, np.uint32), position, has_gauss, state['numpy_gauss'].item()))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


def check_resumable(checkpoint: dict, name: str) -> None:
    """Make sure of what mmengine takes for granted.

    Raises:
        CheckpointError: it holds weights alone.
    """
    meta = checkpoint.get('meta')
    if not isinstance(checkpoint.get('message_hub'), dict) or not isinstance(meta, dict) or not all(
            isinstance(meta.get(key), int) for key in ('epoch', 'iter')):
        raise CheckpointError(f'--resume: {name} holds weights, and not how far their training was.\n'
                              f'To start from them: --cfg-options load_from={name}')


def newest_checkpoint(work_dir: str, hook, say: Callable[[str], None], before: int | None = None) -> str | None:
    """`newest_intact` of a run in `work_dir`, among the checkpoints that `hook` writes, a CheckpointHook."""
    name, folder = os.path.basename(work_dir.rstrip(os.sep)), getattr(hook, 'out_dir', None) or work_dir
    if folder != work_dir and os.path.basename(folder) != name:
        folder = os.path.join(folder, name)  # as the hook will have it
    return newest_intact(work_dir, folder, getattr(hook, 'filename_tmpl', 'iter_{}.pth'), say, before)


def newest_intact(work_dir: str, folder: str, template: str, say: Callable[[str], None],
                  before: int | None = None) -> str | None:
    """The newest checkpoint of a run that can be read; None where there is none at all.

    The newest is what the pointer names, unless a later one was written after it: a run that was killed just before
    moving the pointer. Later ones older than the pointer are of another run in the same folder, and left alone.

    Args:
        work_dir: where the pointer is.
        folder: where the checkpoints are, and `template`, how they are called: 'iter_{}.pth'.
        say: told each checkpoint that is skipped, and why.
        before: iteration that it may have at most. Default: any.

    Raises:
        CheckpointError: there are checkpoints, and none is intact.
    """
    pointer = Path(work_dir) / POINTER
    named = Path(text) if pointer.is_file() and (text := pointer.read_text().strip()) else None
    if named is not None and not named.exists():
        # The folder was moved, or the pointer is relative to the folder the run was started in.
        moved = Path(folder) / named.name
        named = moved if moved.exists() or not named.is_absolute() else named
    steps = {path: step for path in Path(folder).glob('*') if (step := _step(path, template)) is not None}
    if named is None:
        candidates = sorted(steps, key=lambda path: (path.stat().st_mtime_ns, steps[path]), reverse=True)
    else:
        current, written = steps.pop(named, None), pointer.stat().st_mtime_ns
        newest_first = sorted(steps, key=steps.get, reverse=True)
        candidates = [path for path in newest_first if path.stat().st_mtime_ns >= written
                      and (current is None or steps[path] > current)]
        candidates += [named, *(path for path in newest_first if path not in candidates
                                and (current is None or steps[path] < current))]
    problems = []
    for path in candidates:
        problem = why_broken(path)
        if problem is None and before is not None and _iteration(path) > before:
            say(f'Passed over {path}: of later than iteration {before}')
            continue
        if problem is None:
            return str(path)
        problems.append(f'{path} ({problem})')
        say(f'Skipped {problems[-1]}')
    if problems:
        raise CheckpointError(f'--resume: no checkpoint is intact: {"; ".join(problems)}.\n'
                              'Copy one from elsewhere, or train from the start in another --work-dir.')
    return None


def _iteration(path: Path) -> int:
    return peek(path)['meta']['iter']


def _step(path: Path, template: str) -> int | None:
    found = re.fullmatch(re.escape(template).replace(r'\{\}', r'(\d+)'), path.name)
    return int(found[1]) if found else None


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Remove what a run that was killed while it wrote a checkpoint left of it."""
    for path in Path(folder).glob(f'*.pth{PART}'):
        path.unlink(missing_ok=True)
