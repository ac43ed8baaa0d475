"""The size at which a config's images are trained and tested on, changed in all of its pipelines alike."""
from collections.abc import Callable, Iterator

from mmengine import Config

from ..errors import ConfigError
from ..printable import shown
from ..text import class_name
from .datasets import SPLITS, datasets_of

UNIT = 32  # the coarsest maps have a stride of as many pixels
_MOST = 8192
_SIZES = {'Resize': ('scale',), 'RandomResize': ('scale',), 'RandomChoiceResize': ('scales',),
          'RandomCrop': ('crop_size',)}  # transforms: their arguments in pixels


def use_size(cfg: Config, size: object, given: Callable[[str], object]) -> None:
    """Have tests resize images to a short side of `size` pixels, and scale all else in the pipelines alike.

    So the long side's bound, the sizes that training draws from, and crops; each becomes a multiple of 32. A value that
    the user has set stays.

    Args:
        cfg: changed in place.
        size: a multiple of 32.
        given: see `Given`.

    Raises:
        ConfigError: it is no such number, or the test pipeline has no Resize by a scale.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size % UNIT or not 0 < size <= _MOST:
        raise ConfigError(f'custom_data.size is {shown(size)}: expected the short side of images in pixels, a '
                          f'multiple of {UNIT}')
    before = next((min(step['scale']) for where, step in _steps(cfg) if where.startswith('test_')
                   and class_name(step.get('type')) == 'Resize' and _is_pair(step.get('scale'))), None)
    if before is None:
        raise ConfigError('custom_data.size: the test pipeline has no Resize with a scale, which it would set')
    scale_images(cfg, size / before, given)


def scale_images(cfg: Config, ratio: float, given: Callable[[str], object] = lambda place: None) -> None:
    """Scale all sides that a config's pipelines and its data preprocessor name, each to a multiple of 32 pixels.

    Args:
        cfg: changed in place.
        ratio: of the new sides to the old ones.
        given: see `Given`; what the user has set stays. Default: everything is scaled.
    """
    done = set()  # several data sets may share a pipeline
    for where, step in [*_steps(cfg), *steps_in(cfg.get('tta_pipeline'), 'tta_pipeline')]:
        keys = _SIZES.get(class_name(step.get('type')), ()) if id(step) not in done else ()
        done.add(id(step))
        for key in keys:
            if step.get(key) is not None and given(f'{where}.{key}') is None:
                step[key] = _scaled(step[key], ratio)
    preprocessor = cfg.model.get('data_preprocessor') or {}
    if preprocessor.get('size') is not None and given('model.data_preprocessor.size') is None:
        preprocessor['size'] = _scaled(preprocessor['size'], ratio)


def _steps(cfg: Config) -> list[tuple[str, dict]]:
    """(place, dict) of all steps of the data sets' pipelines."""
    return [step for split in SPLITS for where, dataset, _ in datasets_of(cfg, split)
            for step in steps_in(dataset.get('pipeline'), f'{where}.pipeline')]


def steps_in(value, where: str) -> Iterator[tuple[str, dict]]:
    """(place, dict) of everything in a pipeline or a data loader that has a type, at any depth."""
    if isinstance(value, dict):
        if isinstance(value.get('type'), str | type):
            yield where, value
        for key, item in value.items():
            yield from steps_in(item, f'{where}.{key}')
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from steps_in(item, f'{where}.{i}')


def _is_pair(value) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) for side in value)


def _scaled(value, ratio: float):
    """Sides in pixels, or a list of such pairs, without those that come twice."""
    if isinstance(value, list | tuple):
        scaled = [_scaled(item, ratio) for item in value]
        pairs = bool(value) and isinstance(value[0], list | tuple)
        return type(value)(dict.fromkeys(map(tuple, scaled)) if pairs else scaled)
    return max(UNIT, round(value * ratio / UNIT) * UNIT)
