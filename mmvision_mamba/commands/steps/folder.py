"""`mmvision-mamba train FOLDER`: the config, the settings and the options that a folder of data stands for."""
import contextlib
import os
import os.path as osp
import re
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.device import get_device
from mmengine.logging import MessageHub

from ...checkpoints.newest import pointed
from ...configs import config_of_run
from ...datasets.split import FOLDER, fold_folder
from ...datasets.tile_grid import DEFAULT_OVERLAP, Tiling
from ...errors import ConfigError, DataError, UserError
from ...files import read_bytes, read_text, replace
from ...preflight.folder_data import look_at
from ...preflight.splitting import divide
from ...preflight.training_defaults import CONFIGS, training_defaults
from ...printable import is_name, shown
from ...processes import is_first_process, print_once
from ...work_dirs import hold, make_work_dir

_VAL = 0.2  # set aside where there is no validation split
_WAIT = 20  # seconds in which the processes of a job that starts are through with its validation split


class Plan(NamedTuple):
    """A training on a folder.

    Attributes:
        config: name of a config.
        options: settings of the config, the user's among them, by dotted keys.
        work_dir: the run's folder.
        most_per_batch: for --auto-batch; None: without that.
        found: what was found in the folder, for the user.
    """
    config: str
    options: dict[str, Any]
    work_dir: str
    most_per_batch: int | None
    found: str


def plan(folder: str | os.PathLike, options: Mapping[str, Any] | None = None, task: str | None = None,
         work_dir: str | os.PathLike | None = None, resume: bool = False,
         held: contextlib.ExitStack | None = None, beside: str | None = None) -> Plan:
    """Look at a folder, and decide how to train on it. A validation split that it lacks goes into the run's folder.

    Images of an earlier run's split there stay in their part: its checkpoints were trained on the others.

    Args:
        folder: of data in a layout of `custom_data`.
        options: settings that the user has chosen, by dotted keys: they stay, and others follow from them.
        task: 'detect', 'instances' or 'semantic'. Default: by what lies in the folder.
        work_dir: the run's folder. Default: work_dirs/FOLDER_NAME, with the fold behind it where one is chosen.
        resume: whether a run goes on, or none begins: with the validation split that is there. Default: False.
        held: on which the run's folder stays held once the split is written, so that no other run writes one over it.
            Default: it is let go.
        beside: name of a further config that the run's folder may hold, without its suffix. Default: none.

    Raises:
        ConfigError, DataError: the folder, its data or an option can't be used, or another run holds the run's folder.
    """
    given = _flat(options or {})
    root = osp.abspath(osp.expanduser(os.fspath(folder)))
    if not osp.isdir(root):
        raise DataError(f'{shown(folder)}: no such folder')
    if not is_name(root):
        raise DataError(f"{shown(root)}: the name has '{{{{' or a control character, which no config may have.\n"
                        'Rename the folder, or link to it')
    if 'data_root' in given:
        raise ConfigError(f'data_root is set, and {shown(folder)} is the folder of the data: leave it out')
    settings = _settings(given)
    data = look_at(root, settings, task)
    fold = settings.get('fold')
    work_dir = os.fspath(work_dir) if work_dir is not None else osp.join(
        'work_dirs', osp.basename(root) + (f'-{fold_folder(fold)}' if isinstance(fold, int) else ''))
    _check_is_own(work_dir, root, CONFIGS[data.what], beside)
    found, images = f'{data.images:,} images to train with, {data.note}', data.images
    chosen: dict[str, Any] = {'data_root': root}
    if data.unsplit is not None:
        paths = {name: osp.abspath(osp.join(work_dir, FOLDER, name)) for name in (
            f'train{data.unsplit.suffix}', f'val{data.unsplit.suffix}')}
        division = divide(root, data.unsplit, _VAL, earlier=paths)
        chosen.update({f'custom_data.{Path(name).stem}': path for name, path in paths.items()})
        if 'custom_data.format' in given and all(path.endswith('.json') for path in paths.values()):
            given['custom_data.format'] = 'coco'  # which the parts are in, whatever the whole is
        train, val = (division.count(name) for name in division.parts)
        images = train
        if resume and all(map(osp.isfile, paths.values())):
            found = f'{data.images:,} images, {data.note}\nThe validation split in {osp.join(work_dir, FOLDER)} is kept'
        else:
            with contextlib.ExitStack() as own:
                _write_split(work_dir, ((paths[name], text) for name, text in division.texts()), held or own)
            found = (f'{data.images:,} images, {data.note}\nNo validation split: {val:,} images, chosen at random, are '
                     f'set aside to validate with ({osp.join(work_dir, FOLDER)}).\nWhere images belong together, such '
                     f'as those of one scene: mmvision-mamba split-dataset {shlex.quote(os.fspath(folder))} --groups '
                     'FILE')
    gpu, side = get_device() != 'cpu', data.side
    if (tile := settings.get('tile')) is not None and side is not None:
        tiling = Tiling(tile, settings.get('tile_overlap') or DEFAULT_OVERLAP)
        images, side = images * tiling.number(side) ** 2, min(side, tile)  # as if pictures were square
    defaults = training_defaults(data.what, images, side, _cores(), gpu, given)
    chosen.update({key: value for key, value in defaults.options.items()
                   if not any(key.startswith(f'{other}.') for other in given)})
    return Plan(CONFIGS[data.what], {**chosen, **given}, work_dir, defaults.most_per_batch, found)


def _write_split(work_dir: str, texts: Iterator[tuple[str, str]], held: contextlib.ExitStack) -> None:
    """Write those files of a split, (path, content), that are not there yet; the job's first process holds the folder.

    All processes of a job have the same contents at hand, and the machines of one may have disks of their own: whoever
    comes first writes, and the others find it done.
    """
    make_work_dir(osp.join(work_dir, FOLDER))
    is_job = os.environ.get('WORLD_SIZE', '1') != '1'
    if is_first_process():
        held.enter_context(hold(work_dir, wait=_WAIT if is_job else 1))
    end = time.monotonic() + _WAIT
    for path, text in texts:
        while not _has(path, text):
            try:
                with hold(work_dir, wait=0):
                    replace(Path(path), lambda part, text=text: part.write_text(text, encoding='utf-8'))
            except ConfigError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.1)


def _has(path: str, text: str) -> bool:
    """Whether a file has this content."""
    content = text.encode()
    try:
        return read_bytes(path, len(content)) == content
    except OSError:
        return False


def command_of(plan: Plan, arguments: Mapping[str, Any], command: str = 'train',
               train_options: Sequence[str] = ()) -> str:
    """The command that a plan stands for, as a shell takes it.

    Args:
        plan: of a run.
        arguments: options of the command that the user has given, by their names in Python; those that are None or
            False are left out.
        command: its name. Default: 'train'.
        train_options: of the trainings that `tune` starts. Default: none.
    """
    words = ['mmvision-mamba', command, plan.config, '--work-dir', plan.work_dir]
    for name, value in arguments.items():
        if value is None or value is False:
            continue
        words.append(f'--{name.replace("_", "-")}')
        words += [] if value is True else map(str, value) if isinstance(value, list) else [str(value)]
    words += ['--cfg-options', *(f'{key}={_as_option(value)}' for key, value in plan.options.items())]
    words += ['--train-options', *train_options] if train_options else []
    return shlex.join(words)


def weights_of_run(work_dir: str | os.PathLike) -> Path | None:
    """The best checkpoint of the training that this process has just done, or else its last; None without one."""
    best = MessageHub.get_current_instance().runtime_info.get('best_ckpt')
    found = Path(best) if isinstance(best, str) and osp.isfile(best) else pointed(work_dir)
    return found if found is not None and found.is_file() else None


def how_to_use(work_dir: str | os.PathLike) -> str | None:
    """Lines on how to test, and infer with, what this process has trained; None where it has left no checkpoint."""
    checkpoint = weights_of_run(work_dir)
    if checkpoint is None:
        return None
    own = Path(work_dir, checkpoint.name)
    checkpoint = own if own.is_file() else checkpoint
    try:
        config = config_of_run(checkpoint)
    except UserError:  # the checkpoints lie elsewhere, for example
        return None
    return (f'Test:  {shlex.join(["mmvision-mamba", "test", str(config), str(checkpoint)])}\n'
            f'Infer: {shlex.join(["mmvision-mamba", "infer", str(checkpoint)])} IMAGE')


def tell(plan: Plan, folder: str, arguments: Mapping[str, Any], command: str = 'train',
         train_options: Sequence[str] = ()) -> None:
    """Print what was found, and the command that a plan stands for; arguments as for `command_of`."""
    line = command_of(plan, arguments, command, train_options)
    print_once(f'{shown(folder)}: {plan.found}\nThis {command}s as\n  {line}')


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of which those of `custom_data` have keys of their own, which others can be put beside."""
    given = dict(options)
    whole = given.pop('custom_data', None)
    if isinstance(whole, Mapping):
        given = {**{f'custom_data.{key}': value for key, value in whole.items()}, **given}
    return given


def _settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """The user's settings of `custom_data`, one level deep."""
    return {key.split('.')[1]: value for key, value in given.items()
            if key.startswith('custom_data.') and key.count('.') == 1}


def _check_is_own(work_dir: str, root: str, config: str, beside: str | None) -> None:
    """Raise ConfigError where a folder holds a run on other data or of another model."""
    for path in Path(work_dir).glob('*.py') if osp.isdir(work_dir) else ():
        try:
            match = re.search(r"^data_root = (['\"])(.*)\1$", read_text(path), re.MULTILINE)
        except (OSError, UnicodeError):
            continue
        if match and (path.stem not in (Path(config).stem, beside) or osp.realpath(match[2]) != osp.realpath(root)):
            raise ConfigError(f'{shown(work_dir)} holds a run of {shown(path.stem)} on {shown(match[2])}.'
                              '\nGive this one another folder: --work-dir DIR')


def _cores() -> int:
    """CPU cores of each process of this machine's job."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    local = os.environ.get('LOCAL_WORLD_SIZE', '')
    return max(cores // max(int(local) if re.fullmatch(r'[0-9]{1,5}', local) else 1, 1), 1)


def _as_option(value: Any) -> str:
    """A value as --cfg-options takes it."""
    if isinstance(value, list | tuple):
        start, end = '()' if isinstance(value, tuple) else '[]'
        return start + ','.join(map(_as_option, value)) + end
    return str(value)
