"""Check what a model does to its images: how bands are normalised, and how a test cuts them into windows."""
from collections.abc import Iterator, Mapping
from numbers import Integral, Real

from mmengine import Config

from ..errors import ConfigError
from ..text import class_name


def check_normalisation(where: str, model: Mapping, bands: int) -> None:
    """Check that the data preprocessor of a model normalises as many bands as its backbone takes.

    Raises:
        ConfigError: mean and std are not both there, are of another length, or std is not positive; or a preprocessor
            of mmengine, such as mmdet's, is to normalise others than 1 or 3 bands.
    """
    place = f'{where}.data_preprocessor'
    preprocessor = model.get('data_preprocessor') or {}
    mean, std = (preprocessor.get(key) for key in ('mean', 'std'))
    takes = f'{where}.backbone takes {bands} band{"s" * (bands != 1)} (arch.in_channels)'
    if (mean is None) != (std is None):
        raise ConfigError(f'{place} has {"mean" if std is None else "std"} alone: set both, or neither')
    for key, values in (('mean', mean), ('std', std)):
        if values is None:
            continue
        values = list(values) if isinstance(values, list | tuple) else [values]
        if not all(isinstance(value, Real) for value in values) or (key == 'std' and min(values) <= 0):
            raise ConfigError(f'{place}.{key} is {values}: expected numbers{", above 0" * (key == "std")}')
        if len(values) not in (1, bands):
            raise ConfigError(f'{place}.{key} has {len(values)} values, and {takes}.\nGive {place}.mean and .std one '
                              'value for each band, in the order of the bands in the file')
    if bands not in (1, 3) and mean is not None and len(mean) != 1 and \
            class_name(preprocessor.get('type')) not in ('SegDataPreProcessor', ''):
        raise ConfigError(f'{place}: {preprocessor["type"]} normalises one or three bands, and {takes}.\nSet '
                          f"{place}.mean=None and {place}.std=None, and normalise in the pipelines "
                          "(dict(type='Normalize', mean=[…], std=[…], to_rgb=False))")


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
