"""What a study varies: parameters with short names, any keys of the config, and the values that each may take."""
import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from types import MappingProxyType
from typing import Any

from mmengine.config import Config

from ..backbones.family import resolve_arch
from ..errors import ConfigError
from ..preflight.datasets import value_at
from ..preflight.image_scale import scale_images
from ..preflight.overrides import check_overrides
from ..preflight.value_types import check_override_types
from ..printable import shown
from ..text import check_names, class_name, did_you_mean, shortened

KEY = 'search_space'  # of a config
LR, DECAY, BATCH = 'optim_wrapper.optimizer.lr', 'optim_wrapper.optimizer.weight_decay', 'train_dataloader.batch_size'
LAYER_DECAY, DROP_PATH = 'optim_wrapper.paramwise_cfg.decay_rate', 'model.backbone.drop_path_rate'
_KEYS = dict(lr=LR, weight_decay=DECAY, layer_decay=LAYER_DECAY, drop_path=DROP_PATH, batch=BATCH)
NAMES = ('lr', 'weight_decay', 'layer_decay', 'drop_path', 'scale', 'batch')
_LAYER_DECAYS = ('LayerDecayOptimWrapperConstructor', 'LearningRateDecayOptimizerConstructor')
_BACKBONES = ('MambaVision', 'MM_mamba_vision')  # which have a rate of stochastic depth, said or not
_RATES = ('eta_min', 'eta_max', 'min_value')  # of schedules, learning rates themselves
_SCALES = (0.75, 1., 1.25)


@dataclass(frozen=True)
class Parameter:
    """One thing that is varied.

    Attributes:
        name: a short name of `NAMES`, or a dotted key of the config.
        choices: the values it may take, one of them; empty: it is a number of a range.
        low, high: the range, both ends in it; whole numbers where both are.
        log: whether values are spread evenly over its logarithm.
        step: between values; None: any in the range.
        now: the config's own value; None where it has none.
    """
    name: str
    choices: tuple = ()
    low: float = 0.
    high: float = 0.
    log: bool = False
    step: float | None = None
    now: Any = field(default=None, compare=False)

    def __str__(self) -> str:
        if self.choices:
            return f'one of {shortened([*map(str, self.choices)])}'
        notes = ', logarithmic' * self.log + (f', in steps of {self.step:g}' if self.step else '')
        return f'{self.low:g} to {self.high:g}{notes}'

    def suggest(self, trial: Any) -> Any:
        """A value for an optuna trial."""
        if self.choices:
            labels = [*map(_label, self.choices)]
            return self.choices[labels.index(trial.suggest_categorical(self.name, labels))]
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(self.name, self.low, self.high, log=self.log, step=int(self.step or 1))
        return trial.suggest_float(self.name, self.low, self.high, log=self.log, step=self.step)

    def baseline(self) -> Any:
        """The config's own value as optuna takes it; None where it is none of the values."""
        if self.choices:
            return _label(self.now) if any(_same(self.now, choice) for choice in self.choices) else None
        if isinstance(self.now, bool) or not isinstance(self.now, Real) or not self.low <= self.now <= self.high:
            return None
        steps = (self.now - self.low) / self.step if self.step else 0.
        return self.now if abs(steps - round(steps)) < 1e-6 else None

    def record(self) -> list:
        """What tells it from other parameters, as JSON has it."""
        return [self.name, [*map(_label, self.choices)], self.low, self.high, self.log, self.step]


def _label(value: Any) -> Any:
    """A choice as optuna's storage takes it: lists and tuples as text."""
    return json.dumps(value) if isinstance(value, list | tuple) else value


def _same(value: Any, choice: Any) -> bool:
    return (type(value) is type(choice) and value == choice) or (
        isinstance(value, Real) and isinstance(choice, Real) and not isinstance(value, bool) and value == choice)


def space_of(cfg: Config, names: Sequence[str] | None = None,
             without: Mapping[str, str] = MappingProxyType({})) -> list[Parameter]:
    """The parameters that a study of a config varies: those of its `search_space`, or else the default ones.

    The default space has, of `NAMES`, what the config has: learning rate and weight decay between a tenth and ten times
    theirs, the rate of layer-wise decay, the rate of stochastic depth, images of 0.75 to 1.25 times their size, half to
    twice the batch.

    Args:
        cfg: of the training; it is not changed.
        names: which parameters of that space to vary. Default: all.
        without: names of `NAMES` that the trainings set themselves, and by which option; they are not varied. Default:
            none.

    Raises:
        ConfigError: an entry of `search_space` can't be used, nothing can be varied, a name is none of the space's, or
            one of `without` is to be varied.
    """
    given = cfg.get(KEY)
    if given is not None and (not isinstance(given, Mapping) or not given):
        raise ConfigError(f'{KEY} is {shown(given)}: expected a dict of keys of the config, or of '
                          f'{", ".join(NAMES)}, with a list of values or dict(low=…, high=…) each')
    space = default_space(cfg) if given is None else [_parameter(cfg, str(name), value)
                                                     for name, value in given.items()]
    for name, option in without.items():
        if name in (names or ()) or (given is not None and {name, _KEYS.get(name, name)} & {*map(str, given)}):
            raise ConfigError(f'{name} is to be varied, and the option {option} of the trainings sets it: leave out '
                              'one of the two')
        space = [parameter for parameter in space if parameter.name != name]
    if names is not None:
        check_names(names, [parameter.name for parameter in space], '--params: the search space has no')
        space = [parameter for parameter in space if parameter.name in names]
    if not space:
        raise ConfigError(f'{cfg.filename}: there is nothing to vary by default. Give it a {KEY}, such as '
                          f"{KEY} = {{'{LR}': dict(low=1e-5, high=1e-3, log=True)}}")
    return space


def default_space(cfg: Config) -> list[Parameter]:
    """See `space_of`."""
    space = []
    for name in ('lr', 'weight_decay'):
        now = value_at(cfg, _KEYS[name])
        if isinstance(now, Real) and not isinstance(now, bool) and now > 0:
            space.append(Parameter(name, low=now / 10, high=now * 10., log=True, now=float(now)))
    if _applies(cfg, 'layer_decay') and isinstance(now := value_at(cfg, LAYER_DECAY), Real):
        space.append(Parameter('layer_decay', low=min(0.6, now), high=1., now=float(now)))
    if _applies(cfg, 'drop_path'):
        now = _now(cfg, 'drop_path')
        if now is None or isinstance(now, Real):
            space.append(Parameter('drop_path', low=0., high=max(0.5, float(now or 0)),
                                   now=None if now is None else float(now)))
    if len(scales := _distinct_scales(cfg)) > 1:
        space.append(Parameter('scale', choices=scales, now=1.))
    if isinstance(now := value_at(cfg, BATCH), int) and now > 0:
        space.append(Parameter('batch', choices=tuple(sorted({max(now // 2, 1), now, 2 * now})), now=now))
    return space


def apply(cfg: Config, space: Sequence[Parameter], values: Mapping[str, Any]) -> Config:
    """A copy of a config with a trial's values, without the search space.

    Args:
        cfg: of the training.
        space: its parameters.
        values: {name of a parameter: its value}.
    """
    cfg = Config(copy.deepcopy(cfg.to_dict()))
    cfg.pop(KEY, None)
    for parameter in space:
        value = values[parameter.name]
        if parameter.name == 'scale':
            if value != 1:
                scale_images(cfg, value)
            continue
        if parameter.name == 'lr':
            _scale_rates(cfg.get('param_scheduler'), value / parameter.now)
        cfg.merge_from_dict({_KEYS.get(parameter.name, parameter.name): value})
    return cfg


def _scale_rates(schedules: Any, ratio: float) -> None:
    """Multiply the learning rates that schedules name, such as the lowest, as that of the optimiser is."""
    for schedule in schedules.values() if isinstance(schedules, Mapping) and 'type' not in schedules else \
            schedules if isinstance(schedules, list | tuple) else [schedules]:
        if isinstance(schedule, list | tuple):
            _scale_rates(schedule, ratio)
        elif isinstance(schedule, Mapping) and 'momentum' not in class_name(schedule.get('type')).lower():
            for key in _RATES:
                if isinstance(schedule.get(key), Real) and schedule.get('param_name', 'lr') == 'lr':
                    schedule[key] *= ratio


def _applies(cfg: Config, name: str) -> bool:
    """Whether a config has what a short name stands for."""
    if name == 'layer_decay':
        return class_name(value_at(cfg, 'optim_wrapper.constructor')) in _LAYER_DECAYS
    if name == 'drop_path':
        backbone = value_at(cfg, 'model.backbone') or {}
        return 'drop_path_rate' in backbone or class_name(backbone.get('type')) in _BACKBONES
    if name == 'scale':
        return len(_distinct_scales(cfg)) > 1
    return value_at(cfg, _KEYS[name]) is not None


def _now(cfg: Config, name: str) -> Any:
    if name == 'scale':
        return 1.
    found = value_at(cfg, _KEYS.get(name, name))
    if name == 'drop_path' and found is None and class_name(value_at(cfg, 'model.backbone.type')) == 'MambaVision':
        try:
            return resolve_arch(value_at(cfg, 'model.backbone.arch') or 'tiny')['drop_path_rate']
        except ConfigError:  # whoever builds the model says it
            return None
    return found


def _distinct_scales(cfg: Config) -> tuple[float, ...]:
    """Those of `_SCALES` that give images of other sizes, which are multiples of 32; without any, 1 alone."""
    found = {}
    for scale in sorted(_SCALES, key=lambda scale: scale != 1):
        trial = Config(copy.deepcopy(cfg.to_dict()))
        if scale != 1:
            scale_images(trial, scale)
        found.setdefault(repr(trial.to_dict()), scale)
    return tuple(sorted(found.values()))


def _parameter(cfg: Config, name: str, given: Any) -> Parameter:
    """A parameter from its entry in `search_space`."""
    where = f"{KEY}['{shown(name)}']"
    if name in NAMES:
        if not _applies(cfg, name):
            raise ConfigError(f'{where}: the config has nothing of that kind'
                              f'{f" ({_KEYS[name]})" if name in _KEYS else ""}')
    elif '.' not in name and name not in cfg:
        raise ConfigError(f'{where}: no key of the config{did_you_mean(name, [*NAMES, *cfg])}. Expected a dotted key '
                          f'such as {LR}, or one of {", ".join(NAMES)}')
    now = _now(cfg, name)
    if isinstance(given, list | tuple):
        parameter = _choices(where, name, given, now)
    elif isinstance(given, Mapping):
        parameter = _range(where, name, given, now)
    else:
        raise ConfigError(f'{where} is {shown(given)}: expected a list of values, or dict(low=…, high=…)')
    if name == 'lr' and not (isinstance(now, Real) and now > 0):
        raise ConfigError(f'{where}: {LR} is {shown(now)}, no rate that schedules could follow. Vary that key itself')
    values = parameter.choices or (parameter.low, parameter.high)
    if name in ('scale', 'batch', 'lr') and not all(isinstance(value, Real) and value > 0 for value in values):
        raise ConfigError(f'{where}: expected numbers above 0')
    if name == 'scale':
        return parameter
    for value in values:  # as --cfg-options checks them
        check_overrides(cfg, {_KEYS.get(name, name): value})
        check_override_types(cfg, {_KEYS.get(name, name): value})
        try:
            Config(copy.deepcopy(cfg.to_dict())).merge_from_dict({_KEYS.get(name, name): value})
        except (KeyError, TypeError, AssertionError, IndexError) as error:
            raise ConfigError(f'{where}: no value can be set there: {shown(error)}') from None
    return parameter


def _choices(where: str, name: str, given: Sequence, now: Any) -> Parameter:
    def plain(value: Any) -> bool:
        return value is None or isinstance(value, str | bool) or (isinstance(value, Real) and math.isfinite(value)) \
            or (isinstance(value, list | tuple) and all(map(plain, value)))
    labels = [*map(_label, given)]
    if len(given) < 2 or not all(map(plain, given)) or len({*map(repr, labels)}) < len(labels):
        raise ConfigError(f'{where} is {shown(given)}: expected two or more values, each once: numbers, texts, '
                          'True, False, None, or lists of such')
    return Parameter(name, choices=tuple(given), now=now)


def _range(where: str, name: str, given: Mapping, now: Any) -> Parameter:
    check_names(given, ('low', 'high', 'log', 'step'), f'{where} has no key')
    low, high, log, step = given.get('low'), given.get('high'), given.get('log', False), given.get('step')
    ends = (low, high) if step is None else (low, high, step)
    if not all(isinstance(end, Real) and not isinstance(end, bool) and math.isfinite(end) for end in ends) \
            or low >= high:
        raise ConfigError(f'{where} is {shown(dict(given))}: expected numbers, low below high')
    if not isinstance(log, bool) or (log and (low <= 0 or step is not None)):
        raise ConfigError(f'{where}: log is True or False; a logarithmic range begins above 0 and has no steps')
    whole = all(isinstance(end, int) for end in ends)
    if step is not None and not 0 < step <= high - low:
        raise ConfigError(f'{where}: step is {shown(step)}: expected a number above 0, at most high - low')
    if not whole:
        low, high = float(low), float(high)
    return Parameter(name, low=low, high=high, log=log, step=step, now=now)
