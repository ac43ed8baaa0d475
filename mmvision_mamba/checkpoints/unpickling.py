"""Unpickles what torch saved: tensors, plain Python data and bookkeeping, each checked before it is made.

torch's own unpickler, with `weights_only`, lets a file choose among torch's classes, and believes what it says of them:
sparse tensors whose indices lie elsewhere, storages of another size than their bytes, strides that overlap. Here only
dense tensors of real numbers are made, whose every element lies in a storage that the file holds; see also `trees`.
"""
import argparse
import io
import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..printable import shown
from . import numpy_pickles, plain_pickles
from .trees import PLAIN, Refused, check_tree, checked_key

DTYPES = {name: getattr(torch, name) for name in (
    'float64', 'float32', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8', 'uint8', 'bool')}
STORAGES = dict(DoubleStorage=torch.float64, FloatStorage=torch.float32, HalfStorage=torch.float16,
                BFloat16Storage=torch.bfloat16, LongStorage=torch.int64, IntStorage=torch.int32,
                ShortStorage=torch.int16, CharStorage=torch.int8, ByteStorage=torch.uint8, BoolStorage=torch.bool)
MOST_STEPS, MOST_SIDES = 2**23, 16
MOST_MADE = 2**19  # objects of classes, some of which take kilobytes
MOST_TUPLE_KEYS = 1000  # whose hashes, unlike those of text, a file can make collide


class ForeignClass(Exception):
    """An object of a class that no checkpoint may hold; the message is its name."""


class StorageType:
    """What a file calls, for example, torch.FloatStorage; holds the dtype."""

    def __init__(self, dtype: torch.dtype):
        self.dtype = dtype


class Storage:
    """The bytes of a storage, ``(n,)`` uint8, and the dtype that the file has for them."""

    def __init__(self, content: Tensor, dtype: torch.dtype):
        self.content, self.dtype = content, dtype


class _Name:
    """A class or function that a file names. `call` makes an object from arguments, `new` one without any."""

    def __init__(self, call: Callable | None = None, new: Callable | None = None):
        self.call, self.new = call, new


def tensor(storage, offset, size, stride, *_, metadata=None) -> Tensor:
    """A tensor in a storage. What a pickle says besides is left out: hooks, and whether it takes gradients."""
    if not isinstance(storage, Storage):
        raise Refused('a tensor without a storage')
    dimensions = _whole_numbers(size, 'size'), _whole_numbers(stride, 'stride')
    offset, = _whole_numbers((offset,), 'offset')
    if len(dimensions[0]) != len(dimensions[1]) or len(dimensions[0]) > MOST_SIDES:
        raise Refused(f'a tensor of {len(dimensions[0])} sides and {len(dimensions[1])} strides')
    if 0 not in dimensions[0]:
        reach = 1  # elements up to the last one of the sides seen so far, the narrowest strides first
        for step, side in sorted((step, side) for side, step in zip(*dimensions) if side > 1):
            if step < reach:
                raise Refused('a tensor whose strides overlap')
            reach += (side - 1) * step
        if (offset + reach) * storage.dtype.itemsize > len(storage.content):
            raise Refused('a tensor that is larger than its storage')
    elif any(n >= 2**31 for n in (*dimensions[0], *dimensions[1])):
        raise Refused('an empty tensor of huge sides')
    else:
        offset = 0  # that of an empty part of a tensor may lie at its end
    content = storage.content.view(storage.dtype)
    return content.as_strided(*dimensions, content.storage_offset() + offset)


def _tensor_with_metadata(storage, offset, size, stride, gradient, hooks, metadata=None):
    if metadata:
        raise Refused('a tensor that is negated or conjugated as it is read')
    return tensor(storage, offset, size, stride)


def _parameter(data, *_):
    if not isinstance(data, Tensor):
        raise Refused('a parameter that is no tensor')
    return data


def _with_attributes(make, kind, arguments, _):
    """A tensor that has been given attributes, which are left out."""
    if not isinstance(make, _Name) or kind is not Tensor or not isinstance(arguments, tuple):
        raise Refused('a tensor of another class')
    made = _made(make, arguments, 'REDUCE')
    if not isinstance(made, Tensor):
        raise Refused('a tensor that is none')
    return made


def _whole_numbers(values, what: str) -> tuple[int, ...]:
    if not isinstance(values, tuple | torch.Size) or not all(type(n) is int and 0 <= n < 2**62 for n in values):
        raise Refused(f'a tensor whose {what} is {shown(values, 60)}')
    return tuple(values)


def _ordered(pairs=()):
    if not isinstance(pairs, list | tuple) or not all(isinstance(pair, list | tuple) and len(pair) == 2
                                                      for pair in pairs):
        raise Refused('an ordered dictionary that is not made of pairs')
    return _filled(OrderedDict(), [part for pair in pairs for part in pair])


def _counter(counts=None):
    if counts is not None and type(counts) is not dict:
        raise Refused('a counter that is not made of counts')
    return Counter(counts or {})


def _set(items=()):
    if type(items) not in (list, tuple):
        raise Refused('a set that is not made of a list')
    return {checked_key(item) for item in items}


def _bytearray(content=b'', encoding='latin-1'):
    if not isinstance(content, bytes | str) or encoding != 'latin-1':
        raise Refused('a bytearray that is not made of bytes')
    return bytearray(content, encoding) if isinstance(content, str) else bytearray(content)


def _complex(real, imaginary):
    if not all(isinstance(part, int | float) for part in (real, imaginary)):
        raise Refused('a complex number of other parts than numbers')
    return complex(real, imaginary)


def _device(kind, index=None):
    return torch.device(kind) if index is None else torch.device(kind, index)


def _size(sides):
    return torch.Size(_whole_numbers(tuple(sides) if type(sides) is list else sides, 'size'))


# What a file may name. Others join it: see `allow`.
KNOWN: dict[str, Any] = {
    **{f'torch.{name}': dtype for name, dtype in DTYPES.items()},
    **{f'torch.{name}': StorageType(dtype) for name, dtype in STORAGES.items()},
    'torch._utils._rebuild_tensor': _Name(tensor), 'torch._utils._rebuild_tensor_v2': _Name(_tensor_with_metadata),
    'torch._utils._rebuild_parameter': _Name(_parameter),
    'torch._utils._rebuild_parameter_with_state': _Name(_parameter),
    'torch._tensor._rebuild_from_type_v2': _Name(_with_attributes), 'torch.Tensor': Tensor,
    'torch.Size': _Name(_size), 'torch.device': _Name(_device),
    'argparse.Namespace': _Name(new=argparse.Namespace)}
KNOWN |= {f'builtins.{name}': _Name(call) for name, call in dict(
    set=_set, bytearray=_bytearray, complex=_complex).items()}
KNOWN |= {'collections.OrderedDict': _Name(_ordered, OrderedDict), 'collections.Counter': _Name(_counter, Counter)}
KNOWN |= {f'{alias.__module__}.{alias.__qualname__}': _Name(alias)
          for alias in (*numpy_pickles.SAFE, *plain_pickles.SAFE) if alias.__module__ != numpy_pickles.__name__}

# What torch has besides, by the beginnings of their names: said as what they are, and refused.
_KINDS = {'torch._utils._rebuild_sparse': 'a sparse tensor', 'torch.sparse': 'a sparse tensor',
          'torch._utils._rebuild_qtensor': 'a quantised tensor', 'torch.Q': 'a quantised tensor',
          'torch._utils._rebuild_meta': 'a tensor without content (meta)',
          'torch._utils._rebuild_nested': 'a nested tensor', 'torch.nested': 'a nested tensor',
          'torch.Complex': 'a tensor of complex numbers', 'torch._utils._rebuild_wrapper': 'a tensor of another class',
          'torch._utils._rebuild_device': "a tensor of another device's kind",
          'torch._utils._rebuild_tensor_v3': 'a tensor of a dtype that models are not trained in',
          'torch.storage.': 'a storage without a dtype'}

# How an object takes the state that a file has for it; by its class.
STATES: dict[type, Callable[[Any, Any], None]] = {
    numpy_pickles._DType: lambda made, state: made.__setstate__(state),
    numpy_pickles._Array: lambda made, state: made.__setstate__(state)}



def allow(name: str, call: Callable | None = None, new: Callable | None = None,
          state: Callable[[Any, Any], None] | None = None, type_: type | None = None) -> None:
    """Let files hold what they call `name`.

    Args:
        name: of the class or function, with its module.
        call: makes an object from the arguments that a file has. Raises whatever it likes.
        new: makes one without arguments.
        state: gives an object made by `new` the state that a file has for it, with `type_`, its class.
        type_: a class that may then be in what is read.
    """
    KNOWN[name] = _Name(call, new)
    if type_ is not None:
        PLAIN.add(type_)
        if state is not None:
            STATES[type_] = state


def unpickle(file: io.BufferedIOBase, storage: Callable[..., Storage], names: Mapping[str, Callable] = {},
             most: int = 1) -> Any:
    """Read one pickle from `file`, which is then behind it.

    Args:
        file: at the start of a pickle.
        storage: called with what the file says of a storage after the word 'storage', 4 values or 5.
        names: of further functions that the file may call. Default: none.
        most: how many times as many parts and items it may have as a checkpoint. Default: 1.

    Returns:
        A tree that `check_tree` has passed, or a `Storage` alone.

    Raises:
        Refused, ForeignClass: it holds what it may not.
        Exception: anything, where it is broken.
    """
    stack: list[Any] = []
    marks: list[int] = []
    memo: dict[int, Any] = {}
    made = size = tuple_keys = 0

    def count(*taken: Any) -> None:
        """Count what a call took or made: it can be one large content each time, which the file has once."""
        nonlocal made, size
        made += 1
        size += sum(_length(part) for part in taken)
        if made > 2 * MOST_MADE * most:
            raise Refused(f'more than {MOST_MADE} objects')
        if size > 8 * file.tell() + 2**16:
            raise Refused('one content many times over')

    def count_keys(keys: Iterable) -> None:
        nonlocal tuple_keys
        tuple_keys += sum(type(key) is tuple for key in keys)
        if tuple_keys > MOST_TUPLE_KEYS:
            raise Refused(f'more than {MOST_TUPLE_KEYS} keys that are tuples')

    def popped() -> list:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    for step, (operation, argument, _) in enumerate(pickletools.genops(file)):
        if step == MOST_STEPS * most:
            raise Refused(f'more than {MOST_STEPS} parts')
        name = operation.name
        if name in ('BINPUT', 'LONG_BINPUT'):
            memo[argument] = stack[-1]
        elif name == 'MEMOIZE':
            memo[len(memo)] = stack[-1]
        elif name in ('BINGET', 'LONG_BINGET'):
            stack.append(memo[argument])
        elif name in ('BINUNICODE', 'BININT', 'BININT1', 'BININT2', 'LONG1', 'BINFLOAT', 'SHORT_BINSTRING',
                      'BINSTRING', 'SHORT_BINUNICODE', 'BINBYTES', 'SHORT_BINBYTES', 'BYTEARRAY8'):
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name == 'MARK':
            marks.append(len(stack))
        elif name == 'TUPLE':
            stack.append(tuple(popped()))
        elif name in ('TUPLE1', 'TUPLE2', 'TUPLE3'):
            length = int(name[-1])
            items = stack[-length:]
            if len(items) < length:
                raise ValueError('an empty stack')
            stack[-length:] = [tuple(items)]
        elif name in ('APPEND', 'APPENDS'):
            items = [stack.pop()] if name == 'APPEND' else popped()
            if type(stack[-1]) is not list:
                raise Refused('items of what is no list')
            stack[-1].extend(items)
        elif name in ('SETITEM', 'SETITEMS'):
            items = [stack.pop(), stack.pop()][::-1] if name == 'SETITEM' else popped()
            if type(stack[-1]) not in (dict, OrderedDict, Counter):
                raise Refused('keys of what is no dictionary')
            count_keys(items[::2])
            _filled(stack[-1], items)
        elif name in ('GLOBAL', 'STACK_GLOBAL'):
            if name == 'STACK_GLOBAL':
                argument = ' '.join((stack.pop(-2), stack.pop()))
            called = argument.replace(' ', '.', 1).replace('__builtin__.', 'builtins.', 1)
            stack.append(_Name(names[called]) if called in names else _find(called))
        elif name == 'BINPERSID':
            stack.append(_stored(stack.pop(), storage))
        elif name in ('REDUCE', 'NEWOBJ'):
            arguments, maker = stack.pop(), stack[-1]
            if not isinstance(maker, _Name) or not isinstance(arguments, tuple):
                raise Refused('a call of what is no function')
            count(arguments, *arguments)
            if maker.call is _set:
                count_keys(*arguments)
            stack[-1] = _made(maker, arguments, name)
            count(stack[-1])
        elif name == 'BUILD':
            state = stack.pop()
            count(state, *(dict.values(state) if isinstance(state, dict) else ()))
            _set_state(stack[-1], state)
            count(stack[-1])
        elif name == 'STOP':
            result = stack.pop()
            if not isinstance(result, Storage):
                check_tree(result, most)
            return result
        elif name not in ('PROTO', 'FRAME'):
            raise Refused(f'the step {name} of a pickle')
    raise EOFError


_CONSTANTS: dict[str, Callable] = dict(
    NONE=lambda: None, NEWTRUE=lambda: True, NEWFALSE=lambda: False, EMPTY_TUPLE=tuple, EMPTY_LIST=list,
    EMPTY_DICT=dict)


def _length(part: Any) -> int:
    if isinstance(part, np.ndarray):
        return part.nbytes
    return len(part) if isinstance(part, str | bytes | bytearray | list | tuple | set | dict) else 0


def _find(name: str) -> Any:
    if name in KNOWN:
        return KNOWN[name]
    for beginning, kind in _KINDS.items():
        if name.startswith(beginning):
            raise Refused(kind)
    raise ForeignClass(name)


def _stored(said: Any, storage: Callable[..., Storage]) -> Storage:
    if type(said) is not tuple or len(said) not in (5, 6) or said[0] not in ('storage', b'storage') \
            or not isinstance(said[1], StorageType) or type(said[2]) not in (str, int) or type(said[4]) is not int \
            or (len(said) == 6 and said[5] is not None):
        raise Refused('a storage in an unknown form')
    return storage(said[1].dtype, str(said[2]), said[4])


def _made(maker: _Name, arguments: tuple, how: str) -> Any:
    if how == 'NEWOBJ':
        if maker.new is None or arguments:
            raise Refused('an object that is not made so')
        return maker.new()
    if maker.call is None:
        raise Refused('an object that is not made by a call')
    return maker.call(*arguments)


def _set_state(made: Any, state: Any) -> None:
    if type(made) in STATES:
        STATES[type(made)](made, state)
    elif type(made) is argparse.Namespace and type(state) is dict and all(type(key) is str for key in state):
        vars(made).update(state)
    elif type(made) is OrderedDict and type(state) is dict:  # torch's own: the versions of modules
        if not _is_metadata(state.get('_metadata', {})):
            raise Refused('versions of modules that are none')
        made._metadata = state.get('_metadata', OrderedDict())
    else:
        raise Refused(f'a state of a {type(made).__name__}')


def _is_metadata(metadata: Any) -> bool:
    return isinstance(metadata, dict) and all(
        type(key) is str and type(values) in (dict, OrderedDict) and type(values.get('version', 0)) in (int, type(None))
        for key, values in metadata.items())


def _filled(target: dict, items: list) -> dict:
    """`target` with keys and values that follow each other in `items`."""
    keys, values = items[::2], items[1::2]
    if len(keys) != len(values):
        raise Refused('a key without a value')
    target.update(zip(map(checked_key, keys), values))
    return target
