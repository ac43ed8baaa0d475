"""Stand-ins that unpickle NumPy arrays and numbers of a checkpoint, in place of NumPy's own unsafe methods.

`ndarray.__setstate__` and `dtype.__setstate__` believe what they are told. A dtype of numbers whose state claims that
it holds references makes NumPy take an array's bytes for addresses: a file of weights could then crash the process, or
worse. Here a dtype is restored from its name and byte order alone, and an array from bytes of exactly its size.
"""
import numpy as np

from .refused import Refused

_KINDS = 'biufc'  # bool, integers, floats, complex
_OTHER_KINDS = dict(U='text', S='bytes', O='objects', M='dates', m='spans of time', V='records')


class _DType:
    """Stands for a dtype while a file is read; holds the real one."""

    def __init__(self, name, align=False, copy=False):
        if not isinstance(name, str) or len(name) > 16:
            raise TypeError('such a dtype is not allowed in a checkpoint')
        if (kind := np.dtype(name).kind) not in _KINDS:
            raise Refused(f'NumPy {_OTHER_KINDS.get(kind, "data")} (of dtype {name})',
                          'Have it saved as plain Python: value.item(), or array.tolist().')
        self.dtype = np.dtype(name)

    def __setstate__(self, state):
        order = state[1] if isinstance(state, tuple) and len(state) > 4 else None
        if order not in ('<', '>', '|', '=') or any(part is not None for part in state[2:5]) \
                or any(value not in (-1, 0) for value in state[5:]):
            raise TypeError('a dtype with fields, references or alignment is not allowed in a checkpoint')
        self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray):
    """An array that checks the state it is given, and pickles as a plain array."""

    def __setstate__(self, state):
        _, shape, dtype, fortran, data = state
        if not isinstance(shape, tuple) or not all(isinstance(side, int) and side >= 0 for side in shape):
            raise ValueError('an array of such a shape is not allowed in a checkpoint')
        array = np.frombuffer(_as_bytes(data), _as_dtype(dtype)).reshape(shape, order='F' if fortran else 'C')
        super().__setstate__((1, array.shape, array.dtype, bool(fortran), _as_bytes(data)))

    def __reduce_ex__(self, protocol):
        return np.asarray(self).__reduce_ex__(protocol)

    def __reduce__(self):
        return np.asarray(self).__reduce__()


def _as_dtype(dtype) -> np.dtype:
    if not isinstance(dtype, _DType):
        raise TypeError(f'{type(dtype).__name__} is no dtype')
    return dtype.dtype


def _as_bytes(data) -> bytes:
    if not isinstance(data, bytes):
        raise TypeError(f'{type(data).__name__} is no content of an array')
    return data


def _scalar(dtype, data):
    value, = np.frombuffer(_as_bytes(data), _as_dtype(dtype))
    return value


def _reconstruct(cls, shape, code):
    return np.ndarray.__new__(_Array, (0,), np.int8)


def _frombuffer(data, dtype, shape, order):
    return np.frombuffer(_as_bytes(bytes(data) if isinstance(data, bytearray) else data), _as_dtype(dtype)) \
        .reshape(shape, order=order).copy()


def _ndarray(*args):
    raise TypeError('an array is made by its own state in a checkpoint')


def _no_bytes():
    return b''


def _encode(text, encoding):
    if not isinstance(text, str) or encoding != 'latin1':
        raise TypeError('bytes written in another encoding')
    return text.encode('latin1')


def named(module: str, name: str, function):
    """`function` under the name that a file calls it by, such as those, unlike each other, of NumPy 1 and 2."""
    def alias(*args, **kwargs):
        return function(*args, **kwargs)
    alias.__module__, alias.__name__, alias.__qualname__ = module, name, name
    return alias


# torch's unpickler sets the state of an object only if its class is among them.
SAFE = [_DType, _Array, named('numpy', 'dtype', _DType), named('numpy', 'ndarray', _ndarray),
        named('builtins', 'bytes', _no_bytes),  # an empty array's content is written as `bytes()`
        named('_codecs', 'encode', _encode)]  # all other bytes; torch knows it since 2.5
for _package in ('numpy.core', 'numpy._core'):
    SAFE += [named(f'{_package}.multiarray', 'scalar', _scalar),
             named(f'{_package}.multiarray', '_reconstruct', _reconstruct),
             named(f'{_package}.numeric', '_frombuffer', _frombuffer)]
