"""The length of a training, in the unit that its config counts in, and its schedules."""
import math
from collections.abc import MutableMapping

from mmengine import Config

from ..errors import ConfigError
from ..printable import shown
from .check_data import check_datasets

_TIMES = ('begin', 'end', 'T_max', 'total_iters', 'step_size')  # of schedules, in their unit


def set_length(cfg: Config, number: int) -> None:
    """Set the number of epochs or iterations, whichever the config counts, and stretch or shrink its schedules alike.

    A schedule that counts iterations in a training of epochs, as a warm-up does, stays.

    Args:
        cfg: changed in place.
        number: of epochs or iterations.
    """
    unit = unit_of(cfg)
    ratio = number / cfg.train_cfg[unit]
    schedules = cfg.get('param_scheduler') or []
    for schedule in [schedules] if isinstance(schedules, MutableMapping) else schedules:
        if schedule.get('by_epoch', True) == (unit == 'max_epochs'):
            _stretch(schedule, ratio)
    cfg.train_cfg[unit] = number


def _stretch(schedule: MutableMapping, ratio: float) -> None:
    for key in _TIMES:
        if isinstance(schedule.get(key), int):
            schedule[key] = max(round(schedule[key] * ratio), key != 'begin')
    if 'end' in schedule:
        schedule['end'] = max(schedule['end'], schedule.get('begin', 0) + 2)  # one step alone is no slope
    if schedule.get('milestones'):
        schedule['milestones'] = sorted({max(round(time * ratio), 1) for time in schedule['milestones']})


def unit_of(cfg: Config) -> str:
    """What a config counts its training in: 'max_epochs' or 'max_iters'.

    Raises:
        ConfigError: it counts neither.
    """
    counted = next((unit for unit in ('max_epochs', 'max_iters') if (cfg.get('train_cfg') or {}).get(unit)), None)
    if counted is None:
        raise ConfigError(f'{shown(cfg.filename)} has no train_cfg.max_epochs and no train_cfg.max_iters')
    return counted


def set_epochs(cfg: Config, epochs: int) -> None:
    """Train for so many passes through the data, with a validation and a checkpoint after each where iterations count.

    Args:
        cfg: changed in place; its batch size is the one to train with.
        epochs: passes, in a job of several processes of each of these.

    Raises:
        ConfigError: not a whole number above 0. DataError: see `check_datasets`.
    """
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ConfigError(f'epochs is {shown(epochs)}: expected a whole number above 0')
    if unit_of(cfg) == 'max_epochs':
        set_length(cfg, epochs)
        return
    usages = [checked.usage for checked in check_datasets(cfg, ('train',))]
    if not usages or None in usages:
        raise ConfigError('epochs: it is not known how many images this data set has; set train_cfg.max_iters')
    images = sum(usage.used_images for usage in usages)
    iterations = max(math.ceil(images / cfg.train_dataloader.batch_size), 1)
    set_length(cfg, epochs * iterations)
    cfg.train_cfg['val_interval'] = iterations
    cfg.setdefault('default_hooks', {}).setdefault('checkpoint', dict(type='CheckpointHook', by_epoch=False))
    cfg.default_hooks['checkpoint']['interval'] = iterations
