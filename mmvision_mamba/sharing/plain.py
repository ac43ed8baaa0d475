"""Configs as data for JSON: what is none is refused by its key. Tuples, which some classes insist on, stay tuples."""
import math
from collections.abc import Mapping
from typing import Any

from ..errors import ConfigError
from ..printable import shown

TUPLE = '__tuple__'  # the only key of an object that stands for a tuple
DEEPEST = 40
MOST = 200_000  # values of a config; the largest published one has 3,000
_WHOLE = 2**53  # what JSON's readers in other languages keep


def to_data(value: Any, where: str = '') -> Any:
    """A value of a config as JSON has it.

    Args:
        value: plain data, or mmengine's dicts of them.
        where: its place, for errors.

    Raises:
        ConfigError: something in it is no data: a function, a class, an array; names its place.
    """
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key == TUPLE:
                raise ConfigError(f"{where} has the key '{shown(key)}': a config that is shared has names for keys")
        return {key: to_data(item, f'{where}.{key}' if where else key) for key, item in value.items()}
    if isinstance(value, tuple):
        return {TUPLE: [to_data(item, f'{where}.{i}') for i, item in enumerate(value)]}
    if isinstance(value, list):
        return [to_data(item, f'{where}.{i}') for i, item in enumerate(value)]
    if not is_plain(value):
        raise ConfigError(f'{where} is {_said(value)}, which is no data: a config that is shared holds numbers, text, '
                          'lists and dicts.\nName a registered type instead, or override the key')
    return value


def _said(value: Any) -> str:
    if isinstance(value, int | float):
        return shown(value)
    return f'{"the class" if isinstance(value, type) else "a"} ' + (
        value.__name__ if isinstance(value, type) else type(value).__name__)


def is_plain(value: Any) -> bool:
    """Whether a value is text, a finite number of 53 bits, True, False or None."""
    if isinstance(value, bool | str) or value is None:
        return True
    return (isinstance(value, int) and abs(value) <= _WHOLE) or (isinstance(value, float) and math.isfinite(value))


def from_data(data: Any, where: str = '') -> Any:
    """The value that `to_data` made this of, from a file that may hold anything.

    Raises:
        ConfigError: it is too deep or too large, or has a number that no config has; names the place.
    """
    return _read(data, where, 0, [0])


def _read(data: Any, where: str, depth: int, count: list[int]) -> Any:
    count[0] += 1
    if depth > DEEPEST or count[0] > MOST:
        raise ConfigError(f'{shown(where)}: deeper than {DEEPEST} levels' if depth > DEEPEST else
                          f'more than {MOST} values')
    if isinstance(data, dict):
        if TUPLE in data:
            if len(data) > 1 or not isinstance(data[TUPLE], list):
                raise ConfigError(f'{shown(where)}: {TUPLE} is the only key of its object, and has a list')
            return tuple(_read(item, f'{where}.{i}', depth + 1, count) for i, item in enumerate(data[TUPLE]))
        return {key: _read(item, f'{where}.{key}' if where else key, depth + 1, count) for key, item in data.items()}
    if isinstance(data, list):
        return [_read(item, f'{where}.{i}', depth + 1, count) for i, item in enumerate(data)]
    if not is_plain(data):
        raise ConfigError(f'{shown(where)} is {shown(data)}: no number of a config')
    return data
