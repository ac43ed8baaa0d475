"""Check what a model does to its images: how they are normalised and padded, and how a test cuts them into windows."""
from collections.abc import Iterator, Mapping
from numbers import Integral
from typing import Any

from mmengine import Config

from ..backbones.family import is_real, is_whole
from ..errors import ConfigError
from ..limits import PIXELS
from ..printable import shown
from ..text import class_name

_DIVISORS = ('pad_size_divisor', 'size_divisor')  # of a padded batch's sides, of mmdet and mmseg
_LARGEST = 10_000  # such divisor
_PADDING = ('pad_value', 'pad_val', 'seg_pad_val', 'mask_pad_value')
_FLOAT = 3.4e38  # the largest number that a float32 has
_LEVELS = 100  # maps that a neck makes


def check_inputs(node: Any, where: str = 'model') -> None:
    """Check the numbers of data preprocessors, and of the maps that necks make, wherever models are nested.

    Without this a deviation of 0 or NaN would let a model find nothing, in silence.

    Args:
        node: a model's config.
        where: its place. Default: 'model'.

    Raises:
        ConfigError: mean and std are not both there, or not finite, or std is not above 0; padding that can't be; more
            maps than any model has.
    """
    if isinstance(node, list | tuple):
        for i, item in enumerate(node):
            check_inputs(item, f'{where}.{i}')
    elif isinstance(node, Mapping):
        levels = node.get('num_outs')  # of mmdet's ChannelMapper None: as many as it gets
        if levels is not None and not (is_whole(levels) and 0 < levels <= _LEVELS):
            raise ConfigError(f'{where}.num_outs is {shown(levels)}: expected a whole number from 1 to {_LEVELS}')
        for key, item in node.items():
            if key == 'data_preprocessor' and isinstance(item, Mapping):
                _check_preprocessor(item, f'{where}.{key}')
            check_inputs(item, f'{where}.{key}')


def _check_preprocessor(preprocessor: Mapping, place: str) -> None:
    mean, std = (preprocessor.get(key) for key in ('mean', 'std'))
    if (mean is None) != (std is None):
        raise ConfigError(f'{place} has {"mean" if std is None else "std"} alone: set both, or neither')
    for key, values in (('mean', mean), ('std', std)):
        values = [] if values is None else list(values) if isinstance(values, list | tuple) else [values]
        if not all(is_real(value, -_FLOAT, _FLOAT) and (key == 'mean' or value > 0) for value in values):
            raise ConfigError(f'{place}.{key} is {shown(values)}: expected numbers{", above 0" * (key == "std")}')
    for name, settings in ((place, preprocessor), (f'{place}.test_cfg', preprocessor.get('test_cfg'))):
        if isinstance(settings, Mapping):
            _check_padding(settings, name)


def _check_padding(settings: Mapping, place: str) -> None:
    for key in _DIVISORS:
        divisor = settings.get(key)
        if divisor is not None and not (is_whole(divisor) and 0 < divisor <= _LARGEST):
            raise ConfigError(f'{place}.{key} is {shown(divisor)}: expected a whole number from 1 to {_LARGEST}')
    for key in _PADDING:
        value = settings.get(key, 0)
        values = list(value) if isinstance(value, list | tuple) else [value]
        if not all(is_real(value, -_FLOAT, _FLOAT) for value in values):
            raise ConfigError(f'{place}.{key} is {shown(value)}: expected a number')
    size = settings.get('size')
    if size is not None and not (isinstance(size, list | tuple) and len(size) == 2 and all(
            is_whole(side) and side > 0 for side in size) and size[0] * size[1] <= PIXELS.value):
        raise ConfigError(f'{place}.size is {shown(size)}: expected (height, width), at most {PIXELS.value} pixels in '
                          f'all ({PIXELS.way_out})')


def check_normalisation(where: str, model: Mapping, bands: int) -> None:
    """Check that the data preprocessor of a model normalises as many bands as its backbone takes.

    Raises:
        ConfigError: mean and std are not both there, are of another length, or no numbers (see `check_inputs`); or a
            preprocessor of mmengine, such as mmdet's, is to normalise others than 1 or 3 bands.
    """
    place = f'{where}.data_preprocessor'
    preprocessor = model.get('data_preprocessor') or {}
    _check_preprocessor(preprocessor, place)
    mean, std = (preprocessor.get(key) for key in ('mean', 'std'))
    takes = f'{where}.backbone takes {bands} band{"s" * (bands != 1)} (arch.in_channels)'
    for key, values in (('mean', mean), ('std', std)):
        if values is None:
            continue
        values = list(values) if isinstance(values, list | tuple) else [values]
        if len(values) not in (1, bands):
            raise ConfigError(f'{place}.{key} has {len(values)} values, and {takes}.\nGive {place}.mean and .std one '
                              'value for each band, in the order of the bands in the file')
    if bands not in (1, 3) and mean is not None and len(mean) != 1 and \
            class_name(preprocessor.get('type')) not in (
                'SegDataPreProcessor', 'BandPreprocessor', 'SegBandPreprocessor', ''):
        raise ConfigError(f'{place}: {preprocessor["type"]} normalises one or three bands, and {takes}.\nSet '
                          f'{place}.type=mmvision_mamba.datasets.band_preprocessor.BandPreprocessor, which takes any '
                          'number of means')


def check_test_modes(cfg: Config) -> None:
    """Check the test modes of the segmentors in a config, which mmseg reads in the first validation.

    Raises:
        ConfigError: a mode that there isn't, or 'slide' without windows that cover the image.
    """
    for where, settings in _test_settings(cfg.model, 'model'):
        mode = settings['mode']
        if mode not in ('whole', 'slide'):
            raise ConfigError(f"{where}.mode is {mode!r}: expected 'whole' (the image at once) or 'slide' (windows)")
        if mode == 'whole':
            continue
        pairs = {}
        for key in ('crop_size', 'stride'):
            pair = pairs[key] = settings.get(key)
            if not isinstance(pair, list | tuple) or len(pair) != 2 or not all(
                    isinstance(side, Integral) and side > 0 for side in pair):
                raise ConfigError(
                    f"{where}.mode is 'slide', which needs crop_size and stride, (height, width) of the windows and of "
                    f"the steps between them; {key} is {pair!r}.\nSet, for example, {where}.crop_size=(512,512) "
                    f"{where}.stride=(341,341), or {where}.mode=whole")
        if any(step > side for step, side in zip(pairs['stride'], pairs['crop_size'])):
            raise ConfigError(f'{where}.stride {pairs["stride"]} is larger than {where}.crop_size '
                              f'{pairs["crop_size"]}: the windows would leave gaps.\nSet a stride of at most the crop '
                              'size; two thirds of it are usual')


def _test_settings(node, where: str) -> Iterator[tuple[str, Mapping]]:
    """(place, dict) of each `test_cfg` with a mode, wherever models are nested."""
    if isinstance(node, list | tuple):
        for i, item in enumerate(node):
            yield from _test_settings(item, f'{where}.{i}')
    elif isinstance(node, Mapping):
        settings = node.get('test_cfg', {})
        settings = dict(mode=None) if settings is None else settings  # mmseg asks it for the mode
        if isinstance(settings, Mapping) and 'mode' in settings and 'backbone' in node and 'decode_head' in node:
            yield f'{where}.test_cfg', settings
        for key, item in node.items():
            yield from _test_settings(item, f'{where}.{key}')
