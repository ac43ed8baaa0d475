"""What building a model from elsewhere may take: its config of some bytes can ask for more than any machine has."""
import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.nn.modules.module import register_module_module_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from ..errors import CheckpointError
from ..inference.video_trial import memory
from ..printable import shown

_BESIDES = 2**28  # bytes that a model may hold besides its weights: anchors, tables of positions
_GROWTH = 2**30  # bytes by which the process may grow besides: Python's objects, what libraries load
_MODULES = 20_000  # the largest published model has a tenth


@contextlib.contextmanager
def bounded(weights: Path) -> Iterator[None]:
    """Within it, a model may be built of about as many numbers as its file of weights holds.

    The file shows how large the model really is. Bounds are on the tensors that are made, on any one of them before it
    is made, on the number of modules, and on what the process has grown by when either is made.

    Raises:
        CheckpointError: it takes far more.
    """
    bound = _Bounded(4 * os.path.getsize(weights) + _BESIDES)
    hook = register_module_module_registration_hook(bound.count)
    try:
        with bound:
            yield
    except CheckpointError:
        if not bound.reached:
            raise
        raise CheckpointError(f"'{shown(weights)}': the config beside it is of a far larger model than these weights "
                              'are') from None
    finally:
        hook.remove()


class _Bounded(TorchDispatchMode):
    _MADE = ('empty', 'empty_strided', 'full', 'new_empty', 'new_full', 'new_ones', 'new_zeros', 'ones', 'rand',
             'randn', 'repeat', 'zeros')  # operators whose first list is the size of what they make

    def __init__(self, most: int):
        super().__init__()
        self.left, self.modules, self.reached = most, _MODULES, False
        self._highest = memory() + most + _GROWTH

    def count(self, module: torch.nn.Module, name: str, child: torch.nn.Module | None) -> None:
        self.modules -= 1
        self._check(self.modules)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func._schema.name.partition('::')[2] in self._MADE:
            self.left -= 4 * math.prod(next((arg for arg in args if isinstance(arg, list | tuple)), ()))
            self._check(self.left)
        else:
            self._check(self.left - _bytes_of(func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))

    def _check(self, left: int) -> None:
        if left < 0 or memory() > self._highest:
            self.reached = True
            raise CheckpointError('too large')  # the libraries that build the model put words of theirs before it


def _bytes_of(func, args, kwargs) -> int:
    """Bytes of the tensors that an operator will make; 0 where it says only when it runs."""
    if not any(value.alias_info is None for value in func._schema.returns):
        return 0  # views, and results written into what is there
    try:
        made = func(*tree_map(_without_data, args), **{
            **tree_map(_without_data, kwargs), **({'device': 'meta'} if 'device' in kwargs else {})})
    except Exception:  # depends on values, or has no such form: the operator itself may say what is wrong
        return 0
    made = made if isinstance(made, list | tuple) else (made,)
    return sum(one.numel() * one.element_size() for one in made if isinstance(one, torch.Tensor))


def _without_data(value):
    return torch.empty_strided(value.size(), value.stride(), dtype=value.dtype, device='meta') \
        if isinstance(value, torch.Tensor) and value.layout is torch.strided else value
