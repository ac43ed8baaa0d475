"""Images of any number of bands: a config that names bands gets the loader, normalisation and backbone for them."""
from typing import Any

from mmengine import Config

from ..backbones.family import resolve_arch, with_channels
from ..datasets.band_loading import positions_of
from ..datasets.bands import Kind, checked_numbers
from ..errors import ConfigError, DataError
from ..printable import shown
from ..text import class_name
from .band_measures import image_paths, kind_of, measure
from .band_pipelines import use_band_hook, use_band_pipelines
from .check_model_inputs import check_normalisation
from .given import Given

# Full paths, so that a config dumped into a work directory needs no import to find them.
_PREPROCESSORS = {'DetDataPreprocessor': 'mmvision_mamba.datasets.band_preprocessor.BandPreprocessor',
                  'SegDataPreProcessor': 'mmvision_mamba.datasets.seg_band_preprocessor.SegBandPreprocessor'}
_NAMES = 'custom_data.bands', 'custom_data.shown_bands'


def check_bands(settings: dict) -> None:
    """Check what a config's `custom_data` says of bands, before its files are looked for.

    Raises:
        ConfigError: `bands` are no numbers of bands, or `shown_bands` not among them.
    """
    numbers, pictured = settings.get('bands'), settings.get('shown_bands')
    if numbers is None and pictured is not None:
        raise ConfigError(f'{_NAMES[1]} is {shown(pictured, 100)}, and {_NAMES[0]} names no bands: set both')
    if numbers is not None:
        positions_of(checked_numbers(numbers, _NAMES[0]), pictured, _NAMES[1])


def use_bands(cfg: Config, settings: dict, given: Given, measured: bool, strict: bool, trained: bool = False) -> str:
    """Have a config load the bands of `custom_data.bands`, normalise them, and take as many.

    Mean and deviation are those that the user has set in the data preprocessor; without these they are measured.

    Args:
        cfg: changed in place: all pipelines, the data preprocessor and the backbone. Its data sets name their files.
        settings: `custom_data`, checked by `check_bands`.
        given: which values of the config its user has set.
        measured: whether mean and deviation are needed. False: the model is not to be built.
        strict: raise for training images that can't be read or are of another kind than the others; else these are left
            to later checks.
        trained: whether a checkpoint is to be loaded, whose training had a mean and deviation that must be given.
            Default: False.

    Returns:
        A phrase for the user, '' where the config names no bands.

    Raises:
        ConfigError: a backbone of another package; `mean` or `std` of another length, or none for a trained model; a
            transform that knows three colours alone.
        DataError: an image that can't be read, or of another kind; no values of a band at all.
        MissingExtraError: a TIFF, without tifffile.
    """
    if settings.get('bands') is None:
        return ''
    numbers = checked_numbers(settings['bands'], _NAMES[0])
    _use_backbone(cfg, len(numbers))
    mean, std = _given_normalisation(cfg, given, len(numbers))
    if mean is None and measured and trained:
        place, _ = _preprocessor(cfg)
        raise ConfigError(f'{_NAMES[0]}: the config has no mean and std of the bands, and measured anew they may '
                          "differ from those that the checkpoint was trained with.\nTake the config in its training's "
                          f'work directory, which has them, or set {place}.mean and .std')
    paths = image_paths(cfg, 'train')
    if not paths:
        raise DataError(f'{cfg.data_root}: its training set has no images whose bands could be looked at')
    note = ''
    if mean is None and measured:
        found = measure(paths, numbers, strict)
        kind, mean, std = found.kind, found.mean, found.std
        note = f'; mean and std measured on {found.images} image{"s" * (found.images != 1)}'
    else:
        kind = kind_of(paths, numbers)
    if mean is not None:
        _use_normalisation(cfg, mean, std)
    loader = dict(
        bands=list(numbers), fill=mean, shown=list(settings['shown_bands']) if settings.get('shown_bands') else None,
        file_bands=kind.bands, dtype=kind.dtype)
    note += use_band_pipelines(cfg, loader, mean or [0.] * len(numbers), std or [1.] * len(numbers))
    use_band_hook(cfg, loader)
    return f'; {_phrase(numbers, kind)}{note}'


def _phrase(numbers: tuple[int, ...], kind: Kind) -> str:
    return f'band{"s" * (len(numbers) != 1)} {", ".join(map(str, numbers))} of {kind.bands} ({kind.dtype})'


def _use_backbone(cfg: Config, bands: int) -> None:
    backbone = cfg.model.get('backbone')
    if not isinstance(backbone, dict) or class_name(backbone.get('type')) != 'MambaVision':
        kind = class_name(backbone.get('type')) if isinstance(backbone, dict) else 'none'
        raise ConfigError(f'{_NAMES[0]}: model.backbone is {kind}, and MambaVision is the one whose input is changed '
                          'to other bands')
    arch = backbone.get('arch', 'tiny')
    if resolve_arch(arch)['in_channels'] != bands:
        backbone['arch'] = with_channels(arch, bands)


def _preprocessor(cfg: Config) -> tuple[str, dict]:
    for where, holder in (('model.', cfg.model), ('', cfg)):
        found = holder.get('data_preprocessor')
        if isinstance(found, dict):
            return f'{where}data_preprocessor', found
    raise ConfigError(f'{_NAMES[0]}: the config has no model.data_preprocessor, which normalises images')


def _given_normalisation(cfg: Config, given: Given, bands: int) -> tuple[list | None, list | None]:
    """Mean and std that the user has set, (None, None) where there are none."""
    place, _ = _preprocessor(cfg)
    mean, std = (given(f'{place}.{key}') for key in ('mean', 'std'))
    if mean is None and std is None:
        return None, None
    if mean is None or std is None:
        raise ConfigError(f'{place}.{"mean" if mean is None else "std"} is not set beside the other: set both, or '
                          'neither to have them measured')
    for key, values in (('mean', mean), ('std', std)):
        if not isinstance(values, list | tuple) or len(values) != bands:
            number = len(values) if isinstance(values, list | tuple) else 1
            raise ConfigError(f'{place}.{key} has {number} value{"s" * (number != 1)}, and {_NAMES[0]} names {bands}: '
                              f'give one for each band, in that order, or remove {place}.mean and .std to have them '
                              'measured')
    check_normalisation(place.removesuffix('.data_preprocessor'), dict(data_preprocessor=dict(
        type='BandPreprocessor', mean=mean, std=std)), bands)
    return list(mean), list(std)


def _use_normalisation(cfg: Config, mean: list[float], std: list[float] | None) -> None:
    _, preprocessor = _preprocessor(cfg)
    kind: Any = preprocessor.get('type')
    preprocessor.update(type=_PREPROCESSORS.get(class_name(kind), kind), mean=mean, std=std, bgr_to_rgb=False)
    preprocessor.pop('rgb_to_bgr', None)
