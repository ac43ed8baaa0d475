"""Store random states in checkpoints such that a resumed run goes on bit for bit.

See also, for killed processes: newest.py, writing.py, engine/hooks/{safe_checkpoint,preemption}.py,
commands/steps/restart.py.
"""
import random

import numpy as np
import torch
from torch import Tensor

from ..errors import CheckpointError
<<<<<<< HEAD
from .fields import GENERATORS, RESUMED, check_fields
from .writing import PART, peek, why_broken
=======
>>>>>>> a14a1e1 (Resuming: the newest checkpoint is known by what is inside, in copies and under any name)

POINTER = 'last_checkpoint'  # mmengine's name
KEY = 'resume_state'  # in a checkpoint: what mmengine's do not hold


def random_state() -> dict[str, Tensor]:
    """The state of this process's random number generators, as tensors, which every checkpoint reader accepts."""
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
    """The inverse of `random_state`; without a GPU, a GPU's state is ignored."""
    for generator, fits in GENERATORS.items():
        if generator in state and not fits(state[generator]):  # it would read past its words
            raise ValueError(f'{generator} has a state that can not be')
    version, *words = state['python'].tolist()
    *keys, position, has_gauss = state['numpy'].tolist()
    random.setstate((version, tuple(words), next(iter(state['python_gauss'].tolist()), None)))
    np.random.set_state(('MT19937', np.array(keys, np.uint32), position, has_gauss, state['numpy_gauss'].item()))
    torch.set_rng_state(state['torch'].cpu())
    if 'cuda' in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state['cuda'].cpu())


def check_resumable(checkpoint: dict, name: str) -> None:
    """Check what a checkpoint says of its training, from which mmengine resumes without checking it.

    Raises:
        CheckpointError: it has weights only, or a field that can't be, see `fields.RESUMED`.
    """
    meta = checkpoint.get('meta')
    if 'message_hub' not in checkpoint or not isinstance(meta, dict) or not {'epoch', 'iter'} <= meta.keys():
        raise CheckpointError(f'{name} can not be resumed from: it holds weights, and not how far their training was.\n'
                              f'To start from them: set load_from={name}')
<<<<<<< HEAD
    check_fields(checkpoint, name, RESUMED, 'Resume from another checkpoint; to start from its weights: set '
                 f'load_from={name}, without resume')


def newest_checkpoint(work_dir: str, hook, say: Callable[[str], None], before: int | None = None) -> str | None:
    """`newest_intact` of a run in `work_dir`, among the checkpoints that its CheckpointHook `hook` writes."""
    name, folder = os.path.basename(work_dir.rstrip(os.sep)), getattr(hook, 'out_dir', None) or work_dir
    if folder != work_dir and os.path.basename(folder) != name:
        folder = os.path.join(folder, name)  # as the hook itself does before training
    return newest_intact(work_dir, folder, getattr(hook, 'filename_tmpl', 'iter_{}.pth'), say, before)


def newest_intact(work_dir: str, folder: str, template: str, say: Callable[[str], None],
                  before: int | None = None) -> str | None:
    """Path of the newest readable checkpoint of a run; None if it has no checkpoints.

    The newest is the one that the pointer file names, unless one of a later iteration was written after it: by a run
    that was killed just before it moved the pointer. Those of a later iteration that are older than the pointer belong
    to another run in the same folder, and are ignored.

    Args:
        work_dir: folder of the pointer file.
        folder: of the checkpoints.
        template: of their names, such as 'iter_{}.pth'.
        say: called with a line for each checkpoint that is skipped, with the reason.
        before: highest iteration allowed. Default: any.

    Raises:
        CheckpointError: there are checkpoints, and none is intact.
    """
    pointer = Path(work_dir) / POINTER
    last = Path(text) if pointer.is_file() and (text := pointer.read_text().strip()) else None
    if last is not None and not last.exists():
        # The folder was moved, or the pointer is relative to the folder the run was started in.
        moved = Path(folder) / last.name
        last = moved if moved.exists() or not last.is_absolute() else last
    steps = {path: step for path in Path(folder).glob('*') if (step := _step(path, template)) is not None}
    if last is None:
        candidates = sorted(steps, key=lambda path: (path.stat().st_mtime_ns, steps[path]), reverse=True)
    else:
        last_step, written = steps.pop(last, None), pointer.stat().st_mtime_ns
        newest_first = sorted(steps, key=steps.get, reverse=True)
        candidates = [path for path in newest_first if path.stat().st_mtime_ns >= written
                      and (last_step is None or steps[path] > last_step)]
        candidates += [last, *(path for path in newest_first if path not in candidates
                               and (last_step is None or steps[path] < last_step))]
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
        raise CheckpointError(f'nothing to resume from: no checkpoint is intact: {"; ".join(problems)}.\n'
                              'Copy one from elsewhere, or train from the start in another work_dir.')
    return None


def _iteration(path: Path) -> int:
    return peek(path)['meta']['iter']


def _step(path: Path, template: str) -> int | None:
    """The number in a file name of the form `template`; None for other names."""
    match = re.fullmatch(re.escape(template).replace(r'\{\}', r'(\d+)'), path.name)
    return int(match[1]) if match else None


def remove_leftovers(folder: str | os.PathLike) -> None:
    """Remove half-written checkpoints of runs that were killed."""
    for path in Path(folder).glob(f'*.pth{PART}'):
        path.unlink(missing_ok=True)
=======
>>>>>>> a14a1e1 (Resuming: the newest checkpoint is known by what is inside, in copies and under any name)
