"""What a resumed run's config says otherwise than its checkpoint, and which of the two is in force.

mmengine restores the optimiser's settings and the schedulers' from the checkpoint, whatever the config says, and takes
everything else from the config.
"""
import ast
from collections.abc import Iterator, Mapping, Sequence
from numbers import Number
from typing import Any, NamedTuple

from ..errors import CheckpointError
from ..printable import shown
from ..text import class_name

_PROGRESS = {'last_step', 'base_values', 'verbose', '_global_step', '_last_value', '_get_value_called_within_step'}
_LENGTH = ('type', 'by_epoch', 'max_iters', 'max_epochs')
_SCHEDULE = 'param_scheduler', 'optim_wrapper', 'train_cfg', 'auto_scale_lr'
_MOST = 20  # changes that are listed
_BEGINNING = 'init_cfg', 'pretrained', '_scope_'  # what a resumed model doesn't begin with
_UNKNOWN = object()  # what the text of a config does not tell without running it


class Change(NamedTuple):
    """A setting that differs; `restored` tells that the checkpoint's value is in force, not the config's."""
    key: str
    saved: Any
    now: Any
    restored: bool

    def __str__(self) -> str:
        return (f'{self.key}: {_shown(self.saved)} in the checkpoint, {_shown(self.now)} in the config; the '
                f'{"checkpoint" if self.restored else "config"}\'s is in force')


def lines(found: Sequence[Change]) -> list[str]:
    """A line for each change, of many for the first."""
    return [f'  {change}' for change in found[:_MOST]] + [f'  … ({len(found)} in all)'] * (len(found) > _MOST)


def changes(checkpoint: Mapping, name: str, config: str, groups: Sequence[Mapping] | None,
            schedulers: Sequence | None) -> list[Change]:
    """What differs between a checkpoint and the run that is about to resume from it.

    Args:
        checkpoint: as mmengine's runner writes it. What it lacks, such as the text of its config, is not compared.
        name: of the checkpoint, for errors.
        config: text of the run's config, `Config.pretty_text`.
        groups: parameter groups of the run's optimiser, as the config says; None: several optimisers.
        schedulers: of the run, as the config says; None: none, or those of several optimisers.

    Raises:
        CheckpointError: its optimiser's state is another class's.
    """
    meta = checkpoint.get('meta') or {}
    saved, now = (read_values(text) for text in (meta.get('cfg') or meta.get('config'), config))
    found = []
    state = checkpoint.get('optimizer')
    if groups is not None and isinstance(state, Mapping) and isinstance(state.get('param_groups'), Sequence):
        _check_optimizer(state['param_groups'], groups, saved, now, name)
        found += _optimizer_changes(state['param_groups'], groups)
    states = checkpoint.get('param_schedulers')
    if schedulers is not None and isinstance(states, Sequence):
        found += _scheduler_changes(states, schedulers, saved, now)
    return found + list(_config_changes(saved, now))


def same_schedule(checkpoint: Mapping, config: str) -> bool | None:
    """Whether a checkpoint was trained with a config's schedule and optimiser; None: it does not say with which.

    Args:
        checkpoint, config: as of `changes`.
    """
    meta = checkpoint.get('meta') or {}
    saved, now = (read_values(text) for text in (meta.get('cfg') or meta.get('config'), config))
    return all(_same(saved.get(key), now.get(key)) for key in _SCHEDULE) if saved else None


def _check_optimizer(saved_groups, groups, saved: Mapping, now: Mapping, name: str) -> None:
    before, after = (class_name(_get(text, 'optim_wrapper', 'optimizer', 'type')) for text in (saved, now))
    # Arguments that all versions of a class have: with those of another class its first step would fail.
    telling = {'betas', 'momentum', 'alpha', 'rho'}
    same_kind = {*saved_groups[0]} & telling == {*groups[0]} & telling
    if (before and after and before != after) or not same_kind:
        raise CheckpointError(f'{name} holds the state of another optimizer{f" ({before})" if before else ""} than the '
                              f"config's{f' ({after})' if after else ''}: it can not be resumed from.\n"
                              f'To start from its weights with the new optimizer: set load_from={name}, without resume')
    sizes, own = ([len(group['params']) for group in some] for some in (saved_groups, groups))
    if sizes != own:
        raise CheckpointError(
            f'{name} has its parameters in {len(sizes)} groups, the config in {len(own)}, which have other settings '
            '(paramwise_cfg, frozen parts): it can not be resumed from.\nTo start from its weights: set '
            f'load_from={name}, without resume')


def _optimizer_changes(saved_groups, groups) -> Iterator[Change]:
    for key in groups[0]:
        if key == 'params' or key.startswith('_') or f'initial_{key}' in groups[0]:
            continue  # `lr`, for example, is what the schedule made of `initial_lr`
        pairs = [(old[key], new[key]) for old, new in zip(saved_groups, groups) if key in old and key in new]
        different = [pair for pair in pairs if not _same(*pair)]
        if different:
            some = f' (of {len(different)} in {len(groups)} groups)' if len(different) < len(groups) else ''
            yield Change(f'optim_wrapper.optimizer.{key.removeprefix("initial_")}{some}', *different[0], True)


def _scheduler_changes(states, schedulers, saved: Mapping, now: Mapping) -> Iterator[Change]:
    if len(states) != len(schedulers):
        yield Change('param_scheduler', f'{len(states)} parts', f'{len(schedulers)} parts', True)
    before, after = (_get(text, 'param_scheduler') for text in (saved, now))
    for i, (state, scheduler) in enumerate(zip(states, schedulers)):
        old, new = (class_name(_get(parts, i, 'type')) for parts in (_listed(before), _listed(after)))
        if old and new and old != new:
            yield Change(f'param_scheduler.{i}.type, which are mixed', old, new, True)
        own = scheduler.state_dict()
        for key in own:
            if key in state and key not in _PROGRESS and not _same(state[key], own[key]):
                yield Change(f'param_scheduler.{i}.{key}', state[key], own[key], True)


def _config_changes(saved: Mapping, now: Mapping) -> Iterator[Change]:
    """What the two texts say of settings that no state restores."""
    for section, keys in (('train_cfg', _LENGTH), ('optim_wrapper', None)):
        old, new = _get(saved, section), _get(now, section)
        if not isinstance(old, Mapping) or not isinstance(new, Mapping):
            continue
        for key in dict.fromkeys((*old, *new)):
            if (keys is None and key not in ('optimizer', 'paramwise_cfg')) or (keys and key in keys):
                before, after = old.get(key), new.get(key)
                if key == 'type':
                    before, after = class_name(before), class_name(after)
                if not _same(before, after):
                    yield Change(f'{section}.{key}', before, after, False)
    yield from _differences('model', _get(saved, 'model'), _get(now, 'model'))


def _differences(place: str, old: Any, new: Any) -> Iterator[Change]:
    """The settings below a place of two configs that differ, but for weights to begin with."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            if key not in _BEGINNING:
                yield from _differences(f'{place}.{key}', *(_named(key, some.get(key)) for some in (old, new)))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new) and any(
            isinstance(item, Mapping) for item in (*old, *new)):
        for i, pair in enumerate(zip(old, new)):
            yield from _differences(f'{place}.{i}', *pair)
    elif not _same(old, new) and not (place == 'model' and None in (old, new)):
        yield Change(place, old, new, False)


def _named(key: str, value: Any) -> Any:
    return class_name(value) if key == 'type' and isinstance(value, str) else value


def read_values(text: Any) -> dict[str, Any]:
    """The top-level settings of a config's text, without running it; what is no plain value is `_UNKNOWN`."""
    try:
        lines = ast.parse(text).body
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return {}
    return {line.targets[0].id: _value(line.value) for line in lines
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)}


def _value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return {keyword.arg: _value(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {ast.unparse(key) if key else None: _value(value) for key, value in zip(node.keys, node.values)}
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, RecursionError, MemoryError):
        return _UNKNOWN


def _get(node: Any, *path: Any) -> Any:
    for key in path:
        if isinstance(node, Mapping):
            node = node.get(key)
        else:
            node = node[key] if isinstance(node, list) and isinstance(key, int) and key < len(node) else None
    return node


def _listed(schedulers: Any) -> Any:
    return [schedulers] if isinstance(schedulers, Mapping) else schedulers


def _same(a: Any, b: Any) -> bool:
    if a is _UNKNOWN or b is _UNKNOWN:
        return True
    if isinstance(a, Number) and isinstance(b, Number):
        try:
            return bool(a == b or abs(a - b) <= 1e-9 * max(abs(a), abs(b)))  # type: ignore[operator]
        except OverflowError:
            return False
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    return type(a) is type(b) and bool(a == b)


def _shown(value: Any) -> str:
    return 'nothing' if value is None else f'{value:g}' if isinstance(value, float) else shown(value, 100)
