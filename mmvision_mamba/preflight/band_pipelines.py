"""Pipelines for images of any number of bands: the loader exchanged, and what knows three colours replaced or refused.

Images have float32 values, in the order and on the scale of their files.
"""
from collections.abc import Iterator
from typing import Any

from mmengine import Config

from ..errors import ConfigError
from ..text import class_name
from .datasets import SPLITS
from .image_scale import steps_in

_LOADER = 'mmvision_mamba.datasets.band_loading.LoadImageFromFile'
_DISTORTION = 'mmvision_mamba.datasets.band_distortion.BandDistortion'
_PAD = 'mmvision_mamba.datasets.band_padding.Pad'
_HOOK = 'mmvision_mamba.engine.hooks.band_pictures.BandVisualizationHook'
_MOST_BY_AREA = 4  # bands that OpenCV resizes so

_COLOURS = 'changes colours of 8 bits'
_CANVAS = 'puts images together on a canvas of three colours of 8 bits'
_BORDERS = 'fills what comes in at the borders with three colours'
# Name of a transform of mmcv, mmdet or mmseg -> what it does that other images than those in colour don't stand.
_REFUSED = {
    **dict.fromkeys(('YOLOXHSVRandomAug', 'ColorTransform', 'Color', 'Brightness', 'Contrast', 'Sharpness', 'Solarize',
                     'SolarizeAdd', 'Posterize', 'Equalize', 'AutoContrast', 'Invert', 'CLAHE', 'AdjustGamma',
                     'RandomGrayscale', 'RGB2Gray', 'Corrupt', 'Rerange', 'PhotoMetricDistortion'), _COLOURS),
    **dict.fromkeys(('Mosaic', 'CachedMosaic', 'RandomMosaic', 'MixUp', 'CachedMixUp', 'RandomCenterCropPad', 'Expand',
                     'InstaBoost'), _CANVAS),
    **dict.fromkeys(('Rotate', 'ShearX', 'ShearY', 'TranslateX', 'TranslateY', 'RandomAffine'), _BORDERS),
    'Albu': 'takes images of 8 bits and three colours for most of its transforms',
    'Normalize': 'normalises once more what the data preprocessor does, for each band'}
_SPACES = {'AutoAugment': 'policies', 'RandAugment': 'aug_space'}  # and the argument without which they change colours
_HOLES = ('CutOut', 'RandomCutOut')


def use_band_pipelines(cfg: Config, settings: dict, mean: list[float], std: list[float]) -> str:
    """Exchange, in place, the loaders and `PhotoMetricDistortion` in all of a config's pipelines.

    Args:
        cfg: its data sets, and `tta_pipeline`.
        settings: arguments of `band_loading.LoadImageFromFile`.
        mean, std: of each band.

    Returns:
        A phrase on what was replaced besides the loaders; '' for nothing.

    Raises:
        ConfigError: see `check_band_pipelines`.
    """
    note = ''
    for _, step in list(_steps(cfg)):
        name = class_name(step['type'])
        if name == 'LoadImageFromFile':
            kept = {key: step[key] for key in ('ignore_empty', 'backend_args') if key in step}
            step.clear()
            step.update(type=_LOADER, **settings, **kept)
        elif name == 'PhotoMetricDistortion':
            step.clear()
            step.update(type=_DISTORTION, mean=mean, std=std)
            note = '; BandDistortion in place of PhotoMetricDistortion'
        elif name == 'Pad':  # without a value of the user's, with each band's mean: 0 for the model
            step.update(type=_PAD, pad_val=step.get('pad_val', dict(img=mean, seg=255)))
        elif name in _HOLES:
            step.setdefault('fill_in', mean)
    check_band_pipelines(cfg)
    return note


def use_band_hook(cfg: Config, settings: dict) -> None:
    """Have a toolbox's visualisation hook, in place, draw on the bands that are shown.

    Args:
        cfg: its `default_hooks`.
        settings: arguments of `band_loading.LoadImageFromFile`.
    """
    hook = (cfg.get('default_hooks') or {}).get('visualization')
    if isinstance(hook, dict) and class_name(hook.get('type')) in ('DetVisualizationHook', 'SegVisualizationHook'):
        hook.update(kind=class_name(hook['type']), type=_HOOK, loader=settings)


def check_band_pipelines(cfg: Config) -> None:
    """Raise ConfigError for a transform that knows three colours alone, where a config's pipelines load bands."""
    steps = list(_steps(cfg))
    bands = next((len(step['bands']) for _, step in steps if step['type'] == _LOADER and step.get('bands')), None)
    for where, step in steps if bands else ():
        if why := _problem(step, bands):
            raise ConfigError(f'{where}: {class_name(step["type"])} {why}, and the images have {bands} '
                              f'band{"s" * (bands != 1)} of any values: leave it out. {_DISTORTION} changes brightness '
                              'and contrast of any bands')


def _problem(step: dict, bands: int) -> str | None:
    """What a transform does that images of so many bands don't stand."""
    name = class_name(step['type'])
    if name in _REFUSED:
        return _REFUSED[name]
    if name in _SPACES and not step.get(_SPACES[name]):
        return f'{_COLOURS} unless its {_SPACES[name]} say otherwise'
    if step.get('interpolation') == 'area' and bands > _MOST_BY_AREA:
        return f"resizes {_MOST_BY_AREA} bands at most with interpolation='area'"
    if name in _HOLES and bands == 1:
        return 'makes holes in images of several bands alone'
    for key in ('pad_val', 'fill_in'):
        value: Any = step.get(key)
        value = value.get('img', 0) if isinstance(value, dict) else value
        if isinstance(value, list | tuple) and len(value) != bands:
            return f'has {len(value)} value{"s" * (len(value) != 1)} as {key}'
    return None


def _steps(cfg: Config) -> Iterator[tuple[str, dict]]:
    """(place, dict) of everything in the data loaders and in `tta_pipeline` that has a type, at any depth."""
    for key in (*(f'{split}_dataloader' for split in SPLITS), 'tta_pipeline'):
        yield from steps_in(cfg.get(key), key)
