"""What a checkpoint may hold besides tensors: plain data in a tree that everybody can walk through.

A few hundred bytes of a pickle make a tuple of two tuples, each of the same two, and so on: to compare, print or hash
it takes for ever, or all memory. A tree may be no deeper and, with all that is shared in it counted each time, no
larger than what others can cope with.
"""
import argparse
from collections import OrderedDict
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..printable import shown
from . import numpy_pickles
from .refused import Refused

PLAIN: set[type] = {type(None), bool, int, float, complex, str, bytes, bytearray, torch.dtype, torch.device, torch.Size,
                    Tensor, np.ndarray, numpy_pickles._Array, date, datetime, time, timedelta, timezone}
MOST_ITEMS, DEEPEST, LONGEST_KEY = 2**22, 100, 16
_LARGEST_KEY = 2**61 - 1  # integers hash to themselves below it; others are made to collide


def checked_key(value: Any) -> Any:
    """`value`, if hashing it takes no longer than reading it."""
    parts = value if type(value) is tuple else (value,)
    if len(parts) > LONGEST_KEY:
        raise Refused(f'a key of {len(parts)} parts')
    for part in parts:
        if type(part) not in (str, int, float, bool, bytes, type(None)) or (
                type(part) is int and abs(part) >= _LARGEST_KEY):
            raise Refused(f'a key {shown(part, 60)}')
    return value


def check_tree(tree: Any, most: int = 1) -> None:
    """Check that a tree holds plain data and tensors, and can be walked through.

    Args:
        tree: whatever it is.
        most: how many times 4,194,304 items it may have, with what is shared counted each time. Default: 1.

    Raises:
        Refused: it holds something else, itself, more items than that, or more than 100 levels.
    """
    most *= MOST_ITEMS
    sizes: dict[int, tuple[int, int]] = {}  # of containers that are done: items, levels
    open_: list[tuple[Any, Iterator, list[int]]] = []
    inside: set[int] = set()
    total = [0, 0]

    def enter(value: Any) -> None:
        children = _children(value)
        if children is None:
            if type(value) not in PLAIN and not isinstance(value, np.generic | PurePath):
                raise Refused(f'an object of {type(value).__name__}')
            total[0] += 1
        elif id(value) in sizes:
            total[0] += sizes[id(value)][0]
            total[1] = max(total[1], 1 + sizes[id(value)][1])
        elif id(value) in inside:
            raise Refused('a container that contains itself')
        else:
            inside.add(id(value))
            open_.append((value, children, [*total]))
            total[:] = 1, 1
        if total[0] > most or total[1] + len(open_) > DEEPEST:
            raise Refused(f'data of more than {most} items or {DEEPEST} levels')

    enter(tree)
    while open_:
        value, children, before = open_[-1]
        depth = len(open_)
        for child in children:
            enter(child)
            if len(open_) > depth:
                break
        else:
            open_.pop()
            inside.discard(id(value))
            sizes[id(value)] = total[0], total[1]
            total[:] = before[0] + total[0], max(before[1], 1 + total[1])
            if total[0] > most:
                raise Refused(f'data of more than {most} items or {DEEPEST} levels')


def _children(value: Any) -> Iterator | None:
    """Iterator over what a container holds besides keys; None for other objects."""
    if isinstance(value, dict):
        return iter([*dict.values(value), *vars(value).values()] if type(value) is OrderedDict else dict.values(value))
    if type(value) in (list, tuple, set):
        return iter(value)
    return iter(vars(value).values()) if isinstance(value, argparse.Namespace) else None
