"""Check that values of a config are of a type that what reads them takes: else it fails late, or in its own words."""
import math
from collections.abc import Iterator, Mapping, Sequence
from numbers import Real

from mmengine import Config
from mmengine.registry import (
    DATA_SAMPLERS,
    HOOKS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    Registry,
)

from ..errors import ConfigError
from ..limits import PIXELS
from ..printable import shown
from ..text import class_name
from .annotation_files import metrics_in
from .datasets import value_at
from .keys import parameters_of

# Arguments whose numbers or truth values may be words: 'dynamic', 'inf', 'on_input', 'auto', the name of weights; and a
# dict for which a name may stand.
_ALSO_WORDS = ('loss_scale', 'norm_type', 'add_extra_convs', 'bias', 'pretrained')
_ALSO_NAMES = ('arch',)
_PATHS = ('load_from', 'work_dir')
_DICTS = ('backend_args', 'custom_data', 'file_client_args')
_LIBRARIES = ('mmcv', 'mmdet', 'mmengine', 'mmpretrain', 'mmseg', 'mmvision_mamba')
_METRICS = ('mIoU', 'mDice', 'mFscore')  # of mmseg's IoUMetric, which looks at them after the first validation
_LEVELS = ('CRITICAL', 'ERROR', 'WARNING', 'INFO', 'DEBUG', 'NOTSET')
_WINDOWS = (None, 'epoch', 'global')  # of the log, besides numbers of values
_DEVICES = ('cpu', 'gpu', 'npu')  # where the results of several processes are put together
_STARTS = ('fork', 'forkserver', 'spawn')
_NONE = ('visualizer', 'log_processor')  # None stands for mmengine's own
_SIZES = ('scale', 'scales', 'img_scale', 'crop_size')  # of transforms, in pixels
_REGISTRIES = dict(model=MODELS, optim_wrapper=OPTIM_WRAPPERS, param_scheduler=PARAM_SCHEDULERS, train_cfg=LOOPS,
                   val_cfg=LOOPS, test_cfg=LOOPS, default_hooks=HOOKS, custom_hooks=HOOKS, val_evaluator=METRICS,
                   test_evaluator=METRICS)
_INNER = dict(optimizer=OPTIMIZERS, pipeline=TRANSFORMS, transforms=TRANSFORMS, sampler=DATA_SAMPLERS)


def check_override_types(cfg: Config, options: Mapping[str, object]) -> None:
    """Raise ConfigError for an override that puts text in the place of a number, a value in that of a dict, and so on.

    Args:
        cfg: as read from its file, without the overrides.
        options: {dotted key: value}.
    """
    for key, value in options.items():
        name = key.rpartition('.')[2]
        if key in _PATHS and value is not None and not isinstance(value, str):
            raise ConfigError(f'{key} is {value!r}: expected a path')
        _check_dict(key, name, value)
        old = value_at(cfg, key)
        if isinstance(old, bool) and key.startswith('model.'):
            continue  # a class of one's own may take words, too: see `_unlike_default`
        if value is not None and (expected := _unlike(old, value, name)):
            raise ConfigError(f'{key} is {shown(value)!r}: expected {expected}')


def _check_dict(where: str, name: str, value) -> None:
    if name in _DICTS and not isinstance(value, Mapping | None):
        raise ConfigError(f'{where} is {shown(value)!r}: expected a dict, set key by key: {where}.KEY=VALUE; or None')


def _unlike(old, value, name: str) -> str | None:
    """What is expected where a value of another kind stands in the config's file; None where the new one will do."""
    if isinstance(old, bool):
        return None if isinstance(value, bool) or value in (0, 1) else f'True or False; the config has {old}'
    if _is_number(old):
        numbers = [value] if not isinstance(value, list | tuple) else value
        wrong = name not in _ALSO_WORDS and any(isinstance(v, str) for v in numbers)
        return f'a number; the config has {old}' if wrong else None
    if isinstance(old, Mapping):
        named = name in _ALSO_NAMES and isinstance(value, str)
        return None if isinstance(value, Mapping) or named else \
            f'a dict, set key by key: {name}.KEY=VALUE; None removes it'
    if isinstance(old, list | tuple) and old:
        items = value if isinstance(value, list | tuple) else [value]
        if all(map(_is_number, old)) and any(isinstance(item, str) for item in items):
            return f'numbers; the config has {shown(old)}'
        if all(isinstance(item, Mapping) for item in old) and not isinstance(value, list | tuple | Mapping):
            return f'a list, of which an item is set by its number: {name}.0.KEY=VALUE'
    return None


def check_containers(cfg: Config) -> None:
    """Raise ConfigError where a part of a run's config that must be a dict, or a list of dicts, is something else."""
    for key in ('env_cfg', 'default_hooks', 'visualizer', 'log_processor'):
        if key in cfg and not isinstance(cfg[key], Mapping) and (cfg[key] is not None or key not in _NONE):
            raise ConfigError(f'{key} is {shown(cfg[key])!r}: expected a dict')
    _check_environment(cfg.get('env_cfg') or {})
    _check_visualizer(cfg.get('visualizer') or {})
    _check_log(cfg.get('log_processor') or {})
    for key in ('val_evaluator', 'test_evaluator'):
        parts = cfg.get(key)
        parts = parts if isinstance(parts, list | tuple) else [parts] if parts is not None else []
        if not all(isinstance(part, Mapping) for part in parts):
            raise ConfigError(f'{key} is {shown(cfg[key])!r}: expected a dict with a type, or a list of such')
        for metric in metrics_in(parts):
            if metric.get('collect_device', 'cpu') not in _DEVICES:
                raise ConfigError(f'{key}.collect_device is {shown(metric["collect_device"])!r}: expected one of '
                                  f'{", ".join(_DEVICES)}')
            if not isinstance(metric.get('prefix'), str | None):
                raise ConfigError(f'{key}.prefix is {shown(metric["prefix"])!r}: expected a text')
    hooks = cfg.get('custom_hooks')
    if hooks is not None and not (isinstance(hooks, list | tuple) and all(
            isinstance(hook, Mapping) and 'type' in hook for hook in hooks)):
        raise ConfigError(f'custom_hooks is {shown(hooks)!r}: expected a list of dicts, each with a type')


def _check_environment(settings: Mapping) -> None:
    """Raise ConfigError where the settings of processes and threads are none."""
    for key in ('mp_cfg', 'dist_cfg'):
        if not isinstance(settings.get(key, {}), Mapping):
            raise ConfigError(f'env_cfg.{key} is {shown(settings[key])!r}: expected a dict')
    for key, number in (('mp_cfg.opencv_num_threads', settings.get('mp_cfg', {}).get('opencv_num_threads', 0)),
                        ('resource_limit', settings.get('resource_limit', 0))):
        if not isinstance(number, int):
            raise ConfigError(f'env_cfg.{key} is {shown(number)!r}: expected a number')


def _check_visualizer(visualizer: Mapping) -> None:
    """Raise ConfigError where a visualizer's name or backends are none."""
    name, backends = visualizer.get('name', ''), visualizer.get('vis_backends') or []
    if not isinstance(name, str):
        raise ConfigError(f'visualizer.name is {shown(name)!r}: expected a text')
    for backend in backends if isinstance(backends, list | tuple) else [backends]:
        if not isinstance(backend, Mapping) or 'type' not in backend \
                or not isinstance(backend.get('save_dir'), str | None):
            raise ConfigError(f'visualizer.vis_backends has {shown(backend)!r}: expected dicts with a type, and a '
                              'folder as save_dir')


def _check_log(log: Mapping) -> None:
    """Raise ConfigError where a log's windows are none: numbers of values, an epoch or all."""
    items = log.get('custom_cfg') or []
    if not isinstance(items, list | tuple) or not all(isinstance(item, Mapping) for item in items):
        raise ConfigError(f'log_processor.custom_cfg is {shown(items)!r}: expected a list of dicts')
    for i, part in enumerate((log, *items)):
        window = part.get('window_size')
        if not (window in _WINDOWS or (isinstance(window, int) and window > 0)):
            where = f'log_processor.custom_cfg.{i - 1}' if i else 'log_processor'
            raise ConfigError(f"{where}.window_size is {shown(window)!r}: expected a number of values, 'epoch' or "
                              "'global'")


def check_argument_types(cfg: Config) -> None:
    """Raise ConfigError for an argument of a part of a run whose default is a number, and which is text, or the like.

    Looks at the model, the optimiser, schedules, loops, hooks, metrics, samplers, the transforms of pipelines and the
    level of the log.

    Args:
        cfg: of a run, its toolbox imported.
    """
    level = cfg.get('log_level', 'INFO')
    if not isinstance(level, int) and level not in _LEVELS:
        raise ConfigError(f'log_level is {shown(level)!r}: expected one of {", ".join(_LEVELS)}')
    way = value_at(cfg, 'env_cfg.mp_cfg.mp_start_method')
    if way is not None and way not in _STARTS:
        raise ConfigError(f'env_cfg.mp_cfg.mp_start_method is {shown(way)!r}: expected one of {", ".join(_STARTS)}')
    for key in cfg:
        registry = _REGISTRIES.get(key) or (MODELS if key.endswith('_dataloader') else None)
        for where, part, registered in _parts(cfg[key], key, registry) if registry else ():
            _check_part(where, part, registered)


def _parts(node, where: str, registry: Registry) -> Iterator[tuple[str, Mapping, Registry]]:
    """(place, dict with a type, registry of its class) of all parts below a node."""
    if isinstance(node, Mapping):
        if isinstance(node.get('type'), str):
            yield where, node, registry
        for key, item in node.items():
            yield from _parts(item, f'{where}.{key}', _INNER.get(key, registry))
    elif isinstance(node, list | tuple):
        for i, item in enumerate(node):
            yield from _parts(item, f'{where}.{i}', registry)


def _check_part(where: str, part: Mapping, registry: Registry) -> None:
    if registry is TRANSFORMS:
        _check_sizes(where, part)
    for key in _DICTS:
        _check_dict(f'{where}.{key}', key, part.get(key))
    try:
        with registry.switch_scope_and_registry(part.get('_scope_')) as here:
            cls = here.get(part['type'])
        arguments = parameters_of(cls) if callable(cls) else {}
    except Exception:  # the error of what builds it says it best
        return
    if cls is not None and not callable(cls):
        raise ConfigError(f'{where}.type is {shown(part["type"])!r}, a {type(cls).__name__}: expected the name '
                          'of a class')
    for key, value in part.items():
        if key in arguments and (expected := _unlike_default(arguments[key].default, value, key, registry, cls)):
            raise ConfigError(f'{where}.{key} is {shown(value)!r}: expected {expected}, by default of '
                              f'{class_name(part["type"])} {shown(arguments[key].default)}')


def check_sizes(steps: object, where: str) -> None:
    """Raise ConfigError for transforms of a pipeline that make no images, or such of more pixels than `PIXELS`."""
    for place, part, _ in _parts(steps, where, TRANSFORMS):
        _check_sizes(place, part)


def _check_sizes(where: str, part: Mapping) -> None:
    for key in (*_SIZES, 'size'):
        value = part.get(key)
        if value is None or (key == 'size' and not _are_sizes(value)):
            continue
        if not _are_sizes(value):
            raise ConfigError(f'{where}.{key} is {shown(value)!r}: expected (width, height) in pixels, or several '
                              f'such, as {class_name(part["type"])} takes them')
        if _pixels(value, bool(part.get('keep_ratio'))) > PIXELS.value:
            raise ConfigError(f'{where}.{key} is {shown(value)!r}: images are made of at most {PIXELS.value} pixels '
                              f'({PIXELS.way_out})')


def _pixels(value, keeps_ratio: bool) -> float:
    """Of the largest image that sizes ask for; one that keeps its ratio is as large as the shorter side lets it be."""
    if not isinstance(value, list | tuple):
        return value * value
    if len(value) == 2 and all(map(_is_number, value)):
        return min(value)**2 if keeps_ratio else value[0] * value[1]
    return max(_pixels(item, keeps_ratio) for item in value)


def _unlike_default(default, value, key: str, registry: Registry, cls: type) -> str | None:
    ours = cls.__module__.split('.')[0] in _LIBRARIES
    if isinstance(default, bool):
        words = key in _ALSO_WORDS or (registry is MODELS and not ours)
        return 'True or False' if isinstance(value, str) and not words else None
    if key == 'meta_keys' and isinstance(default, tuple):
        return None if isinstance(value, list | tuple) else 'several names'
    if key == 'iou_metrics' and ours:
        names = [value] if isinstance(value, str) else value
        known = isinstance(names, list | tuple) and all(name in _METRICS for name in names)
        return None if known else f'some of {", ".join(_METRICS)}'
    if _is_number(default):
        several = registry is OPTIMIZERS and isinstance(value, list | tuple | Mapping)
        return 'a number' if several or (isinstance(value, str) and key not in _ALSO_WORDS) else None
    if isinstance(default, tuple) and default and all(map(_is_number, default)):
        of_numbers = isinstance(value, Sequence) and not isinstance(value, str) and all(map(_is_number, value))
        wrong = isinstance(value, str) or (registry is OPTIMIZERS and not (of_numbers and len(value) == len(default)))
        return f'{len(default)} numbers' if wrong else None
    return None


def _is_number(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _are_sizes(value) -> bool:
    if isinstance(value, list | tuple):
        return len(value) > 0 and all(map(_are_sizes, value))
    return _is_number(value) and value != 0 and not math.isnan(value)
