"""Bounds on what a config may hold: its files are small, but YAML's aliases and Python's numbers are not."""
import contextlib
import math
from pathlib import Path
from typing import Any

from mmengine import fileio

from ..errors import ConfigError
from ..printable import shown
from .given import files_of

VALUES = 1_000_000  # of a YAML or JSON file, aliases written out
_BITS = 1023  # of a whole number: a larger one is no float, and may have more digits than Python prints


def check_files(path: Path) -> None:
    """Raise ConfigError where aliases of a YAML file, a config or one that it inherits from, stand for too much.

    Files that can't be read, or inherit from themselves, are left to mmengine.

    Args:
        path: the config.
    """
    for file in files_of(path):
        values: float = 0
        with contextlib.suppress(Exception):
            values = _values(fileio.load(file), {}) if file.suffix in ('.yaml', '.yml') else 0
        if values > VALUES:
            raise ConfigError(f'{file}: its aliases stand for more than {VALUES} values. Write out what it is to hold')


def _values(node: Any, known: dict[int, float]) -> float:
    """How many values there are below a node; those that hold themselves have no end."""
    if not isinstance(node, dict | list | tuple):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf
        known[id(node)] = 1 + sum(_values(item, known) for item in (node.values() if isinstance(node, dict) else node))
    return known[id(node)]


def check_numbers(value: Any, place: str = '') -> None:
    """Raise ConfigError for a whole number in a config that is too large to be computed with or printed."""
    if isinstance(value, dict):
        for key, item in value.items():
            check_numbers(item, f'{place}.{shown(key)}' if place else shown(key))
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            check_numbers(item, f'{place}.{i}')
    elif isinstance(value, int) and value.bit_length() > _BITS:
        raise ConfigError(f'{place} is a number of some {int(value.bit_length() * 0.30103)} digits: nothing can be '
                          'computed with it')
