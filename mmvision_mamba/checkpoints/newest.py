"""Choose the checkpoint that a run resumes from: by what the files say inside, for copies and backups have other times.

See also, for killed processes: resuming.py, writing.py, engine/hooks/{safe_checkpoint,preemption}.py,
commands/steps/restart.py.
"""
import os
import re
import string
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import CheckpointError
from ..printable import shown
from ..work_dirs import RUN, record_of
from .fields import is_count, is_time
from .resuming import KEY, POINTER
from .writing import PART, peek, why_broken


class Saved(NamedTuple):
    """What a checkpoint says of its training.

    run: a number that all checkpoints of one training have; None: written by mmengine, or by an earlier version.
    time: when it was saved, in ns; later than all checkpoints before it, whatever the clock.
    iteration: iterations done.
    """
    run: int | None
    time: int
    iteration: int


def saved(path: str | os.PathLike) -> Saved | None:
    """What a checkpoint file says of its training; None if it can't be read, or holds weights alone."""
    try:
        checkpoint = peek(path)
    except (CheckpointError, OSError):
        return None
    meta, state = (found if isinstance(found, Mapping) else {} for found in (
        checkpoint.get(name) if isinstance(checkpoint, Mapping) else None for name in ('meta', KEY)))
    run, moment, iteration = state.get('run'), state.get('saved'), meta.get('iter')
    if not is_count(iteration):
        return None
    if not is_time(moment):
        try:
            moment = int(time.mktime(time.strptime(str(meta.get('time'))[:15], '%Y%m%d_%H%M%S'))) * 10 ** 9
        except (ValueError, OverflowError):
            moment = 0
    return Saved(run if is_time(run) else None, moment, iteration)


def newest_checkpoint(work_dir: str, hook, say: Callable[[str], None], before: int | None = None) -> str | None:
    """`newest_intact` of a run in `work_dir`, among the checkpoints that its CheckpointHook `hook` writes."""
    folder = getattr(hook, 'out_dir', None)
    if not folder or os.path.basename(folder) != os.path.basename(work_dir.rstrip(os.sep)):  # not before training
        folder = checkpoint_folder(work_dir, folder)
    return newest_intact(work_dir, folder, getattr(hook, 'filename_tmpl', 'iter_{}.pth'), say, before)


def checkpoint_folder(work_dir: str, out_dir: str | os.PathLike | None) -> str:
    """Where a CheckpointHook of that `out_dir` writes the checkpoints of a run in `work_dir`."""
    if not out_dir or os.fspath(out_dir) == work_dir:
        return work_dir
    return os.path.join(out_dir, os.path.basename(work_dir.rstrip(os.sep)))


def newest_intact(work_dir: str, folder: str, template: str, say: Callable[[str], None],
                  before: int | None = None) -> str | None:
    """Path of the newest readable checkpoint of a run; None if it has no checkpoints.

    The newest is the one that the pointer file names, unless the same training saved one of a later iteration after it:
    killed just before it moved the pointer. Other later ones are of another training in the same folder, or of
    iterations that a rollback undid, and are ignored. Without a pointer it is the one that was saved last; where a
    training began anew in the folder and was killed before it moved the pointer, the one that this training saved last,
    or none.

    Args:
        work_dir: folder of the pointer file.
        folder: of the checkpoints.
        template: of their names, such as 'iter_{}.pth' or 'iter_{:06d}.pth'.
        say: called with a line for each checkpoint that is skipped, with the reason.
        before: highest iteration allowed. Default: any.

    Raises:
        CheckpointError: there are checkpoints, and none is intact.
    """
    steps = {path: step for path in (sorted(Path(folder).iterdir()) if Path(folder).is_dir() else ())
             if ((step := step_of(path.name, template)) is not None or step_of(path.name) is not None)
             and path.is_file()}
    facts = {path: saved(path) for path in steps}
    last = pointed(work_dir, folder)
    if last is not None and not last.is_file() and last.parent != Path(folder):
        last = Path(folder, last.name)
    if last is not None and last not in facts:
        if steps and last.parent != Path(folder):
            last = None  # the folder is a copy, without its last checkpoint: what it has counts, not the original's
        else:
            steps[last], facts[last] = step_of(last.name, template), saved(last)

    def age(path):
        # What can't be read is only named: where it would be if it were the newest of its number.
        return (facts[path].time, facts[path].iteration) if facts[path] else (path.stat().st_mtime_ns, steps[path] or 0)

    def is_before(path):
        if facts[path] and facts[last]:
            return facts[path].iteration < facts[last].iteration
        return None in (steps[path], steps[last]) or steps[path] < steps[last]

    others = sorted((path for path in steps if path != last), key=age, reverse=True)
    begun = record_of(work_dir).get(RUN) if last is None else None
    if is_time(begun):
        own = [path for path in others if facts[path] and facts[path].run == begun]
        if earlier := len(others) - len(own):
            say(f'{earlier} checkpoints in {shown(folder, 1000)} are of an earlier training than the one that was '
                'begun there last: not taken')
        others = own
    if last is None:
        candidates = others
    else:
        later = [path for path in others if facts[last] and facts[path] and not is_before(path)
                 and facts[path][1:] > facts[last][1:] and facts[path].run in (None, facts[last].run)]
        candidates = [*later, last, *filter(is_before, others)]
    known = [facts[path].run for path in ([last] if last else []) + candidates if facts[path] and facts[path].run]
    problems, passed = [], False
    for path in candidates:
        if facts[path] and facts[path].run and facts[path].run != known[0]:
            continue  # of an earlier training
        problem = why_broken(path) or (None if facts[path] else 'it holds weights, and not how far their training was')
        if problem is None and before is not None and facts[path].iteration > before:
            passed = True
            say(f'Passed over {shown(path, 1000)}: of later than iteration {before}')
            continue
        if problem is None:
            return str(path)
        problems.append(f'{shown(path, 1000)} ({problem})')
        say(f'Skipped {problems[-1]}')
    if problems and not passed:
        raise CheckpointError(f'nothing to resume from: no checkpoint is intact: {"; ".join(problems)}.\n'
                              'Copy one from elsewhere, or train from the start in another work_dir.')
    return None


def pointed(work_dir: str | os.PathLike, folder: str | os.PathLike | None = None) -> Path | None:
    """The checkpoint that the pointer file names, whether it is there or not; None without a pointer.

    The file holds an absolute path, since mmengine's tools take it as it is. Here its last part counts, where the run's
    own folder has a file of that name: the folder may be a copy, or have been moved.

    Args:
        work_dir: folder of the pointer file.
        folder: of the checkpoints. Default: the same.
    """
    pointer = Path(work_dir, POINTER)
    try:
        text = pointer.read_bytes()[:4096].decode(errors='surrogateescape').strip() if pointer.is_file() else ''
        own = own_path(folder or work_dir, text)
        return own if own is None or own.is_file() or not Path(text).is_absolute() else Path(text)
    except (OSError, ValueError):
        return None


def own_path(folder: str | os.PathLike, path: str) -> Path | None:
    """The file of the same name in `folder`, for a path of any system; None for no path."""
    name = re.split(r'[\\/]', path)[-1]
    return Path(folder, name) if name else None


def step_of(name: str, template: str = 'iter_{}.pth') -> int | None:
    """The number in a file name of the form `template`, with any format; None for other names."""
    try:
        pattern = ''.join(re.escape(text) + ('(.*?)' if field is not None else '')
                          for text, field, _, _ in string.Formatter().parse(template))
        match = re.fullmatch(pattern, name)
        digits = re.sub(r'\D', '', match[1]) if match and match.groups() else ''
        return int(digits) if 0 < len(digits) < 20 and template.format(int(digits)) == name else None
    except (LookupError, TypeError, ValueError):  # no template at all
        return None


def remove_leftovers(folder: str | os.PathLike, template: str = 'iter_{}.pth') -> None:
    """Remove half-written checkpoints and pointers of runs that were killed, by their names."""
    for path in Path(folder).glob(f'*{PART}'):
        name = path.name.removesuffix(PART)
        if name.endswith('.pth') or name == POINTER or step_of(name.removeprefix('best_'), template) is not None:
            path.unlink(missing_ok=True)
