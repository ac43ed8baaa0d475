"""Compares the states of optimisers and schedules in a checkpoint with those of the run that is to take them.

Neither checks what it takes: it would fail at its first step, or go on with other numbers than there should be.
"""
import copy
import inspect
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from numbers import Number
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..printable import shown
from .fields import MOST, are_groups, described, is_count, is_number

_COUNTERS = '.last_step', '._global_step', '.cooldown_counter', '.num_bad_epochs'  # 0 now and then
_DUMMY = 2, 3, 5, 7, 11  # sides of the parameter that shows what state an optimiser keeps


def check_states(checkpoint: Mapping, name: str, wrapper: Any, schedulers: Any) -> None:
    """Raise CheckpointError if the states of optimiser and schedules can't be taken.

    Args:
        checkpoint: content of the file; what it lacks is not checked.
        name: the file, for the message.
        wrapper: mmengine's `OptimWrapper`, or a mapping of several by name.
        schedulers: mmengine's, a list, or a mapping of lists by name; None: none.
    """
    for problem in _problems(checkpoint, wrapper, schedulers):
        other = ", or with the config's schedule, --new-schedule" * problem.startswith('param_schedulers')
        raise CheckpointError(f'{name}: its {problem}.\nResume from another checkpoint{other}; to start from its '
                              f'weights: set load_from={name}, without resume')


def without_state(checkpoint: Mapping, wrapper: Any) -> int:
    """How many parameters that are trained have no state of their optimiser in a checkpoint that `check_states` passes.

    0 of one that keeps none, and of several. Parameters that no loss has reached yet have none either.
    """
    optimizer, saved = getattr(wrapper, 'optimizer', None), checkpoint.get('optimizer')
    if optimizer is None or not saved:
        return 0
    if not saved['state'] and not any(group.get('betas') or group.get('momentum') for group in optimizer.param_groups):
        return 0
    numbers = [number for group in saved['param_groups'] for number in group['params']]
    trained = [parameter.requires_grad for group in optimizer.param_groups for parameter in group['params']]
    return sum(trains and number not in saved['state'] for number, trains in zip(numbers, trained))


def _problems(checkpoint: Mapping, wrapper: Any, schedulers: Any) -> Iterator[str]:
    several = not hasattr(wrapper, 'optimizer')
    if (saved := checkpoint.get('optimizer')) is not None:
        if several:
            wrappers = dict(wrapper.items())
            yield from (f'optimizer has {shown_key}, of which the run has none'
                        for shown_key in map(described, saved) if shown_key not in wrappers)
            for key, single in wrappers.items():
                if key in saved:
                    yield from _wrapper_problems(saved[key], single, f'optimizer.{key}')
        else:
            yield from _wrapper_problems(saved, wrapper, 'optimizer')
    saved = checkpoint.get('param_schedulers')
    if saved is None or schedulers is None:
        return
    if isinstance(schedulers, Mapping):
        for key, fresh in schedulers.items():
            if not isinstance(saved, Mapping) or key not in saved:
                yield f'param_schedulers lack {described(key)}'
            else:
                yield from _scheduler_problems(saved[key], fresh, f'param_schedulers.{key}')
    else:
        yield from _scheduler_problems(saved, schedulers, 'param_schedulers')


def _wrapper_problems(saved: Any, wrapper: Any, path: str) -> Iterator[str]:
    if not isinstance(saved, dict):
        yield f'{path} must be a dictionary, got {described(saved)}'
        return
    if 'loss_scaler' in saved and hasattr(wrapper, 'loss_scaler'):
        yield from unlike(wrapper.loss_scaler.state_dict(), saved['loss_scaler'], f'{path}.loss_scaler')
    base = saved.get('base_param_settings')
    if base is not None and not (isinstance(base, dict) and is_number(base.get('lr'))):
        yield f'{path}.base_param_settings must have a learning rate, got {described(base)}'
    yield from _optimizer_problems(saved, wrapper.optimizer, path)


def _optimizer_problems(saved: dict, optimizer: torch.optim.Optimizer, path: str) -> Iterator[str]:
    groups, states = saved.get('param_groups'), saved.get('state')
    if not are_groups(groups):
        yield f'{path}.param_groups must be a list of groups with the numbers of their params, got {described(groups)}'
        return
    if not isinstance(states, dict) or not all(isinstance(state, dict) for state in states.values()):
        yield f'{path}.state must be a dictionary of dictionaries, got {described(states)}'
        return
    numbers = [number for group in groups for number in group['params']]
    if len(set(numbers)) != len(numbers) or not set(states) <= set(numbers):
        yield f'{path} has states of other parameters than its groups, or some twice'
        return
    sizes, own = ([len(group['params']) for group in some] for some in (groups, optimizer.param_groups))
    if sizes != own:
        yield f'{path} has its parameters in groups of {shown(sizes, 60)}, the run in groups of {shown(own, 60)}'
        return
    parameters = iter(zip(numbers, (p for group in optimizer.param_groups for p in group['params'])))
    for i, (group, fresh) in enumerate(zip(groups, optimizer.param_groups)):
        for key, value in fresh.items():
            if key in group and key != 'params':
                yield from unlike(value, group[key], f'{path}.param_groups.{i}.{key}')
            elif key not in group and isinstance(value, float | tuple) and not key.startswith('initial_'):
                yield f'{path}.param_groups.{i} lacks {key}'
        if (problem := _refusal(optimizer, group)) and not _refusal(optimizer, fresh):
            yield f'{path}.param_groups.{i} can not be ({problem})'
        kept: dict[int, dict | None] = {}  # by the number of a parameter's sides
        for number, parameter in (next(parameters) for _ in group['params']):
            if not states.get(number):
                continue
            sides = max(parameter.ndim, 1)
            if sides not in kept:  # `fresh` first: of another version of torch the group may lack some
                kept[sides] = _kept(optimizer, {**fresh, **group}, sides)
                if kept[sides] is None and _kept(optimizer, fresh, sides) is not None:
                    yield f'{path}.param_groups.{i} can not be: no step can be made with its settings'
            if (own := kept[sides]) is not None:
                where = f'{path}.state.{number}'
                yield from _state_problems(states[number], own, parameter, where)
                if type(optimizer).__module__.startswith('torch.optim.'):  # those keep all from their first step on
                    yield from (f'{where} has {described(key)}, which {type(optimizer).__name__} does not keep'
                                for key, value in states[number].items() if key not in own and value is not None)


def _refusal(optimizer: torch.optim.Optimizer, group: dict) -> str | None:
    """What the optimiser's class says against the settings of a group; None: nothing."""
    names = inspect.signature(type(optimizer)).parameters
    try:
        type(optimizer)([torch.nn.Parameter(torch.zeros(_DUMMY[:2]))],
                        **{key: value for key, value in group.items() if key in names and key != 'params'})
    except Exception as error:  # each class has its own
        return shown(error, 100) or type(error).__name__
    return None


def _kept(optimizer: torch.optim.Optimizer, group: dict, sides: int) -> dict | None:
    """The state that the optimiser keeps for a parameter of the first `sides` of `_DUMMY` in `group`; None if it can't
    be told."""
    try:
        probe = copy.copy(optimizer)
        device = optimizer.param_groups[0]['params'][0].device
        parameter = torch.nn.Parameter(torch.zeros(_DUMMY[:sides], device=device))
        parameter.grad = torch.zeros_like(parameter)
        probe.param_groups, probe.state = [{**group, 'params': [parameter]}], defaultdict(dict)
        type(probe).step(probe)
        return dict(probe.state[parameter])
    except Exception:  # an optimiser that steps in another way
        return None


def _state_problems(state: dict, kept: dict, parameter: Tensor, path: str) -> Iterator[str]:
    for key, fresh in kept.items():
        value = state.get(key)
        if isinstance(fresh, Tensor) and tuple(fresh.shape) == _DUMMY[:max(parameter.ndim, 1)]:
            if not isinstance(value, Tensor) or value.shape != parameter.shape or not value.is_floating_point() \
                    or torch.finfo(value.dtype).bits < torch.finfo(parameter.dtype).bits:
                yield (f'{path}.{key} must be {str(parameter.dtype).removeprefix("torch.")} of shape '
                       f'{tuple(parameter.shape)}, got {described(value)}')
        elif isinstance(fresh, Number) or (isinstance(fresh, Tensor) and fresh.ndim == 0):
            number = _number(value)
            if not is_number(number) or not 0 <= number < MOST:
                yield f'{path}.{key} must be a number, 0 or more, got {described(value)}'
        elif fresh is not None and value is None:
            yield f'{path} lacks {key}'


def _scheduler_problems(saved: Any, schedulers: Sequence, path: str) -> Iterator[str]:
    if not isinstance(saved, list):
        yield f'{path} must be a list, got {described(saved)}'
        return
    for i, (state, scheduler) in enumerate(zip(saved, schedulers)):
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            yield f'{path}.{i} must be a dictionary, got {described(state)}'
            continue
        own = scheduler.state_dict()
        yield from (f'{path}.{i} must not have {described(key)}' for key in state
                    if key not in own and hasattr(scheduler, key))
        if own.keys() <= state.keys() or {'last_step', '_global_step'} <= state.keys():
            different = list(unlike({key: value for key, value in own.items() if key in state}, state, f'{path}.{i}'))
            yield from different
            if not different and _has_values(scheduler, own) and not _has_values(scheduler, {**own, **state}):
                yield f'{path}.{i} can not be: there is no next step with its settings'
        else:
            yield f'{path}.{i} must be the state of a schedule, got {described(state)}'


def _has_values(scheduler: Any, state: dict) -> bool:
    """Whether a schedule in that state has values for its next steps; the first of all doesn't look at its settings.

    At the end that the config has for it there are none, where PolyLR would divide by zero.
    """
    try:
        probe = copy.copy(scheduler)
        for further in range(1, 4):
            vars(probe).update(state, last_step=state['last_step'] + further)
            if state['_global_step'] + further >= scheduler.end:
                break
            probe._get_value()
    except Exception:  # of one that has no such method or count, too
        return False
    return True


def unlike(fresh: Any, saved: Any, path: str) -> Iterator[str]:
    """What of `saved` is of another kind than `fresh`: other types, a negative number where that is not, and so on."""
    expected = None
    if isinstance(fresh, bool) or fresh is None:
        # What is off in one version is on in another; nothing is known of what is not there yet.
        if not isinstance(saved, bool | None | int | float | str | list | tuple):
            expected = 'True, False or None'
        elif isinstance(fresh, bool) and not isinstance(saved, bool | None):
            expected = 'True or False'
    elif isinstance(fresh, Tensor | Number):
        number, least = _number(saved), _number(fresh)
        whole = isinstance(number, int) and isinstance(least, int) and not path.endswith(_COUNTERS)
        if is_number(least) and (not is_number(number) or number < 0 <= least or (whole and number == 0 < least)):
            expected = 'a number' + (', 1 or more' if whole and least > 0 else ', 0 or more' if least >= 0 else '')
    elif isinstance(fresh, str):
        if not isinstance(saved, str) or (path.endswith('.param_name') and saved != fresh):
            expected = fresh
    elif isinstance(fresh, Counter | dict):
        if not isinstance(saved, dict):
            expected = 'a dictionary'
        elif isinstance(fresh, Counter):
            if not all(is_count(key) and is_count(value) for key, value in saved.items()):
                expected = 'a count for each step'
        else:
            for key, value in fresh.items():
                if key not in saved:
                    yield f'{path} lacks {key}'
                else:
                    yield from unlike(value, saved[key], f'{path}.{key}')
    elif isinstance(fresh, list | tuple):
        if not isinstance(saved, list | tuple) or len(saved) != len(fresh):
            expected = f'a list of {len(fresh)}'
        else:
            for i, (own, value) in enumerate(zip(fresh, saved)):
                yield from unlike(own, value, f'{path}.{i}')
    if expected:
        yield f'{path} must be {expected}, got {described(saved)}'


def _number(value: Any) -> Any:
    """A tensor's only number; anything else as it is."""
    return value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
