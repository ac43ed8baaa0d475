"""Tiles of large pictures: what `custom_data` says of them, put where a run reads it."""
import copy
from collections.abc import Mapping

from mmengine import Config
from mmengine.registry import DATASETS

from ..errors import ConfigError
from ..text import class_name
from .datasets import datasets_of
from .given import Given
from .keys import arguments_of

KEYS = ('tile', 'tile_overlap', 'min_visible', 'empty_tiles')
LOOPS = dict(val='mmvision_mamba.inference.tiled.loops.TiledValLoop',
             test='mmvision_mamba.inference.tiled.loops.TiledTestLoop')


def use_tiles(cfg: Config, settings: Mapping, given: Given) -> str:
    """Have a config train on tiles, and validate and test on whole pictures by tiles, where `custom_data` says so.

    Args:
        cfg: changed in place: the data sets of training, and `val_cfg` and `test_cfg`.
        settings: of `custom_data`; `tile` and the others of `datasets.tiles.Tiled`.
        given: what the user has set stays.

    Returns:
        A note for the user; '' without tiles.

    Raises:
        ConfigError: a setting is out of range, or a data set's class has no tiles.
    """
    found = {key: settings[key] for key in KEYS if settings.get(key) is not None}
    if not found:
        return ''
    if 'tile' not in found:
        raise ConfigError(f'custom_data.{next(iter(found))} needs custom_data.tile, the side of tiles in pixels')
    from ..datasets.tiles import EMPTY_TILES, MIN_VISIBLE, checked_tiling  # imports mmcv
    try:
        tiling = checked_tiling(found['tile'], *(found.get(key, default) for key, default in (
            ('tile_overlap', 0.2), ('min_visible', MIN_VISIBLE), ('empty_tiles', EMPTY_TILES))))
    except ConfigError as error:
        raise ConfigError(f'custom_data.{error}') from None
    for where, dataset, cls in datasets_of(cfg, 'train'):
        if 'tile' not in arguments_of(cls):
            raise ConfigError(f'custom_data.tile: {where} is a {cls.__name__}, which has no tiles.\nTake a config that '
                              'ends in _custom as it is')
        dataset.update({key: value for key, value in found.items() if given(f'{where}.{key}') is None})
        if dataset.get('filter_cfg') and given(f'{where}.filter_cfg.filter_empty_gt') is None:
            dataset['filter_cfg']['filter_empty_gt'] = False  # the tiles of such an image are empty ones
    for split in LOOPS:
        if given(f'{split}_cfg.type') is None:
            use_loop(cfg, split, tiling)
    return f'; training on tiles of {tiling.tile} × {tiling.tile} pixels, tests of whole images by such'


def use_loop(cfg: Config, split: str, tiling) -> None:
    """Have validation or testing evaluate whole pictures by tiles.

    Args:
        cfg: changed in place: `val_cfg` or `test_cfg`, where it is one of mmengine's loops.
        split: 'val' or 'test'.
        tiling: a `Tiling`; None: pictures are evaluated as a whole.

    Raises:
        ConfigError: the config has a loop of another type.
    """
    settings = cfg.get(f'{split}_cfg')
    if settings is None:
        return
    usual = f'{split.capitalize()}Loop'
    if class_name(settings.get('type', usual)) not in (usual, f'Tiled{usual}'):
        raise ConfigError(f'{split}_cfg.type is {class_name(settings["type"])}, and tiles need {usual}')
    kept = {key: value for key, value in settings.items() if key not in ('type', 'tile', 'overlap')}
    cut = dict(tile=tiling.tile, overlap=tiling.overlap) if tiling else {}
    cfg[f'{split}_cfg'] = dict(kept, type=LOOPS[split] if tiling else usual, **cut)


def tile_of(cfg: Config, split: str) -> int | None:
    """The side of the tiles by which a split is evaluated; None where pictures are evaluated as a whole."""
    settings = cfg.get(f'{split}_cfg') or {}
    return settings.get('tile') if settings.get('type') == LOOPS.get(split) else None


def tile_summary(cfg: Config, dataset: Mapping) -> str | None:
    """A line with the numbers of images and tiles of a data set; None of one without tiles.

    Raises:
        DataError: it can't be cut.
    """
    if not dataset.get('tile'):
        return None
    return DATASETS.build(dict(copy.deepcopy(dict(dataset)), lazy_init=False, _scope_=cfg.get('default_scope'))).summary
