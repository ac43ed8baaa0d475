"""Data of one's own for a config of published data: the text of a config that inherits from it, as `*_custom.py` do."""
import os
import os.path as osp
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from mmengine import Config

from ..errors import ConfigError, DataError
from ..printable import shown
from ..text import class_name, without_templates
from .datasets import SPLITS, datasets_of
from .training_defaults import CONFIGS

_MASKS = 'mmvision_mamba.datasets.image_mask.ImageMaskDataset'
_CUSTOM = dict(mmdet=CONFIGS['boxes'], mmseg=CONFIGS['maps'])


def config_for(base: str, cfg: Config, folder: str | os.PathLike) -> str | None:
    """The text of a config that takes its data from a folder; None where an override of `data_root` is enough.

    That is so for a config with `custom_data`, for one of neither mmdet nor mmseg, and where the folder is laid out as
    the config's own data are.

    Args:
        base: the config to inherit from, as `_base_` names it.
        cfg: that config, as `read_config` returns it without finding its data.
        folder: of the data, in a layout of `custom_data`.

    Raises:
        DataError: there is no such folder.
        ConfigError: its data sets are not of a kind that another can take the place of.
    """
    root = osp.abspath(osp.expanduser(os.fspath(folder)))
    if not osp.isdir(root):
        raise DataError(f'{shown(folder)}: no such folder{"" if osp.isabs(folder) else " in " + shown(os.getcwd())}')
    if cfg.get('custom_data') or cfg.default_scope not in _CUSTOM or _has_layout(cfg, root):
        return None
    settings: dict[str, Any] = dict(data_root=root, custom_data=dict(format=None))
    change = _coco if cfg.default_scope == 'mmdet' else _masks
    for split in SPLITS:
        place, dataset = _only_dataset(cfg, split)
        _put(settings, place, change(dataset))
    if cfg.default_scope == 'mmdet':
        settings.update(val_evaluator=dict(ann_file=None), test_evaluator=dict(ann_file=None))
    elif cfg.get('tta_pipeline'):
        settings['tta_pipeline'] = _without_zero_label(cfg.tta_pipeline)
    settings.update(_schedule(cfg))
    return as_text(settings, base)


def as_text(settings: Mapping[str, Any], base: str | None = None) -> str:
    """The text of a config file with these settings, which are data, and inherits from `base`."""
    lines = [] if base is None else [f'_base_ = {base!r}']
    return without_templates(
        '\n'.join([*lines, *(f'{key} = {_plain(value)!r}' for key, value in settings.items())]) + '\n')


def _plain(value: Any) -> Any:
    """Data with mmengine's dicts replaced by Python's."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return type(value)(map(_plain, value)) if isinstance(value, list | tuple) else value


def _has_layout(cfg: Config, root: str) -> bool:
    """Whether all paths of the training data, relative to the config's `data_root`, are in a folder."""
    found = datasets_of(cfg, 'train')
    for _, dataset, _ in found:
        paths = [path for path in (dataset.get('ann_file'), *(dataset.get('data_prefix') or {}).values())
                 if isinstance(path, str) and path]
        inner = [path.partition('/')[2] for path in paths]  # see `unwrap_data_roots`
        ways = (paths, inner) if all(inner) and len({path.split('/')[0] for path in paths}) == 1 else (paths,)
        if not paths or any(map(osp.isabs, paths)) or not any(
                all(osp.exists(osp.join(root, path)) for path in way) for way in ways):
            return False
    return bool(found)


def _only_dataset(cfg: Config, split: str) -> tuple[str, dict]:
    found = datasets_of(cfg, split)
    way_out = f'Take {_CUSTOM[cfg.default_scope]}, or write the data set into a config of yours'
    if len(found) != 1:
        raise ConfigError(f'data: the config has {len(found)} data sets in {split}_dataloader, and one folder can not '
                          f'take their place.\n{way_out}')
    (place, dataset, cls), = found
    if cfg.default_scope == 'mmdet' and class_name(cls) != 'CocoDataset':
        raise ConfigError(f'data: {place} is a {class_name(cls)}, whose format a folder in COCO format does not have.\n'
                          f'{way_out}')
    return place, dataset


def _coco(dataset: dict) -> dict:
    return dict(ann_file=None, data_prefix=dict(img=None))


def _masks(dataset: dict) -> dict:
    return dict(_delete_=True, type=_MASKS, ann_file=None, data_prefix=dict(img_path=None, seg_map_path=None),
                pipeline=_without_zero_label(dataset['pipeline']))


def _without_zero_label(steps: Any) -> Any:
    """Copy of a pipeline whose masks' value 0 is a class."""
    if isinstance(steps, Mapping):
        return {key: _without_zero_label(item) for key, item in steps.items()
                if not (key == 'reduce_zero_label' and class_name(steps.get('type', '')) == 'LoadAnnotations')}
    return type(steps)(map(_without_zero_label, steps)) if isinstance(steps, list | tuple) else steps


def _put(settings: dict, place: str, value: dict) -> None:
    *above, last = place.split('.')
    for key in above:
        settings = settings.setdefault(key, {})
    settings[last] = value


def _schedule(cfg: Config) -> dict:
    """A warm-up of the first epoch, however short that is, and a learning rate that is scaled to the batch."""
    found: dict[str, Any] = {}
    schedules = cfg.get('param_scheduler')
    if (cfg.get('train_cfg') or {}).get('max_epochs') and isinstance(schedules, list | tuple):
        found['param_scheduler'] = [
            dict(type='LinearLR', start_factor=0.001, by_epoch=True, begin=0, end=1, convert_to_iter_based=True)
            if class_name(schedule['type']) == 'LinearLR' and not schedule.get('by_epoch', True)
            and not schedule.get('begin') else deepcopy(schedule) for schedule in schedules]
    if (cfg.get('auto_scale_lr') or {}).get('base_batch_size'):
        found['auto_scale_lr'] = dict(enable=True)
    return found
