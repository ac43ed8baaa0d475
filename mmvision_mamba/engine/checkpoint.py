"""mmengine's checkpoints, read safely.

Since torch 2.6 mmengine 0.10.7 can't load its own checkpoints: they hold its `HistoryBuffer` and NumPy numbers, which
`weights_only` refuses. Its fork loads them with the check switched off, and so runs whatever a downloaded file says.
Here both read through `read_checkpoint`, with just the bookkeeping types that a Runner writes allowed.
"""
import numpy as np
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from ..backbones.checkpoint import SAFE_CLASSES, read_checkpoint


def _restricted_getattr(instance, name, *default):
    """What an unpickled `getattr` may do: look up a public attribute of `HistoryBuffer`, which pickles its methods so.

    The real one would let a file reach any function there is.
    """
    if (instance is not HistoryBuffer and type(instance) is not HistoryBuffer) or name.startswith('_'):
        raise AttributeError(f'getattr of {instance!r}, {name!r} is not allowed in a checkpoint')
    return getattr(instance, name, *default)


# The name under which torch's unpickler finds it, in every version of torch that knows safe globals.
_restricted_getattr.__module__ = 'builtins'
_restricted_getattr.__name__ = _restricted_getattr.__qualname__ = 'getattr'


def _allowed(module: str, name: str, function):
    """`function`, under another module's name: NumPy 1 and 2 write the same functions under different ones."""
    def alias(*args, **kwargs):
        return function(*args, **kwargs)
    alias.__module__, alias.__name__, alias.__qualname__ = module, name, name
    return alias


_multiarray = getattr(np, '_core', None) or np.core
_NUMPY = [np.ndarray, np.dtype, _multiarray.multiarray.scalar, _multiarray.multiarray._reconstruct]
_NUMPY += [type(np.dtype(t)) for t in (np.float64, np.float32, np.int64, np.int32, np.bool_, np.uint32, np.uint8)]
_NUMPY += [_allowed(module, f.__name__, f) for module in ('numpy.core.multiarray', 'numpy._core.multiarray')
           for f in (_multiarray.multiarray.scalar, _multiarray.multiarray._reconstruct)]


def _load(filename, map_location=None, **_):
    return read_checkpoint(filename, map_location)


def register() -> None:
    """Make mmengine read every local and http(s) checkpoint through `read_checkpoint`."""
    SAFE_CLASSES.extend(c for c in (HistoryBuffer, _restricted_getattr, *_NUMPY) if c not in SAFE_CLASSES)
    _load.__name__ = 'load_from_local'  # mmengine logs the part after 'load_from_'
    CheckpointLoader.register_scheme('', _load, force=True)
    CheckpointLoader.register_scheme(('http://', 'https://'), _load, force=True)
