"""What `test` is given: a config and a checkpoint, an exported file in the place of either, a folder of data."""
import argparse
import os.path as osp
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from ...checkout import CONFIGS as PACKAGED
from ...configs import PREFIX, config_of_run, find_config, is_checkpoint, is_exported
from ...errors import ConfigError, DataError
from ...files import replace
from ...inference.exported import (
    check_alone,
    check_classes,
    check_overrides,
    check_settings,
    load_file,
    precision_of,
    use_file,
)
from ...preflight.datasets import datasets_of, metainfo_of
from ...preflight.folder_data import look_at
from ...preflight.own_data import config_for
from ...preflight.read import read_config
from ...preflight.training_defaults import CONFIGS
from ...printable import shown
from ...runtime.standalone import Model


class Exported(NamedTuple):
    """An exported file that is tested: its path, the file loaded, and what it is to be computed in (None: float32)."""
    path: str
    model: Model
    dtype: str | None


def use_given(args: argparse.Namespace) -> Exported | None:
    """Put a config and a checkpoint, which may be left out, in their places; returns the exported file, if it is one.

    Raises:
        ConfigError: there is no config, no data, or an option that an exported file does not have.
        CheckpointError: the exported file can't be used. DataError: the folder of --data can't.
    """
    given = args.config
    if is_exported(given):
        check_alone(given, args.checkpoint)
        args.config, args.checkpoint = None, given
    elif args.checkpoint is None and is_checkpoint(given):
        args.config, args.checkpoint = str(config_of_run(given)), given
    elif args.checkpoint is None:
        raise ConfigError(f'{shown(given)}: name the checkpoint, or the exported file, after the config')
    if args.data is not None and not osp.isdir(osp.expanduser(args.data)):
        raise DataError(f'--data {shown(args.data)}: no such folder')
    file = None
    if is_exported(args.checkpoint):
        check_settings(args.checkpoint, None, args.dtype)
        precision = precision_of(args.checkpoint, args.dtype)
        file = Exported(args.checkpoint, load_file(args.checkpoint, precision), args.dtype)
        _check_options(args, file)
    if args.data is not None:
        _use_folder(args, file)
    return file


def _check_options(args: argparse.Namespace, file: Exported) -> None:
    check_overrides(file.path, '', args.cfg_options)
    if args.config is None and args.data is None:
        raise ConfigError(f'{shown(file.path)}: what is it to be tested on? Give --data FOLDER, or name a config '
                          'before it, whose test data are taken')
    if args.tta:
        raise ConfigError(f'--tta: {shown(file.path)} is an exported file, which takes an image once: leave it out')
    if args.launcher != 'none':
        raise ConfigError(f'--launcher {args.launcher}: {shown(file.path)} is an exported file, which is tested in one '
                          'process')


def _use_folder(args: argparse.Namespace, file: Exported | None) -> None:
    """Have the config take its data from a folder; without one, choose it."""
    options = dict(args.cfg_options or {})
    if 'data_root' in options:
        raise ConfigError('--data and --cfg-options data_root are both set: keep one of them')
    root = osp.abspath(osp.expanduser(args.data))
    text = None
    if args.config is None:
        assert file is not None
        args.work_dir = args.work_dir or str(Path('work_dirs') / Path(file.path).stem)
        args.config = CONFIGS[_shown_by(root, options, file.model)]
        if file.model.mask_stride:  # SOLOv2, which has no boxes
            options.setdefault('test_evaluator.metric', 'segm')
    else:
        name = find_config(args.config).stem
        text = config_for(base_name(find_config(args.config).resolve()), read_config(
            args.config, options, find_data=False), root)
        args.work_dir = args.work_dir or str(Path('work_dirs') / name)
    if text is None:
        options['data_root'] = root
    else:
        args.config = str(write_config(args.work_dir, name, text))
    args.cfg_options = options


def _shown_by(root: str, options: dict, model: Model) -> str:
    """What of a folder's data a model is tested on, a key of `CONFIGS`."""
    if model.task == 'segmentation':
        return 'maps'
    settings = {key.partition('.')[2]: value for key, value in options.items() if key.startswith('custom_data.')}
    if 'masks' not in model.session.outputs:
        return 'boxes'
    try:
        return look_at(root, settings, 'instances').what
    except ConfigError:  # boxes alone
        return 'boxes'


def base_name(path: Path) -> str:
    """A config as `_base_` names it."""
    root = PACKAGED.resolve()
    return f'{PREFIX}{path.relative_to(root).as_posix()}' if path.is_relative_to(root) else str(path)


def write_config(work_dir: str | Path, name: str, text: str) -> Path:
    """Write a config that is made of another one and a folder of data to a folder of a run; returns its path."""
    path = Path(work_dir) / 'own_data' / f'{name}.py'  # beside it, a run writes all of its config
    replace(path, lambda temporary: temporary.write_text(text, encoding='utf-8'))
    return path


def use_exported(cfg: Config, file: Exported) -> None:
    """Put an exported file in the place of a config's model, in place, whose test data must have its classes.

    Raises:
        ConfigError: see `use_file`. CheckpointError: the data have other classes.
    """
    use_file(cfg, *file)
    for _, dataset, cls in datasets_of(cfg, 'test'):
        if file.model.classes:
            check_classes(file.path, file.model.classes, metainfo_of(dataset, cls).get('classes') or ())
