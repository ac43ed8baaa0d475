"""mmengine's checkpoints, read safely.

Since torch 2.6 mmengine 0.10.7 can't load its own checkpoints: they hold its `HistoryBuffer` and NumPy numbers, which
`weights_only` refuses. Its fork loads them with the check switched off, and so runs whatever a downloaded file says.
Here both read through `read_checkpoint`, with just the bookkeeping types that a Runner writes allowed.
"""
import functools
import os

from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from ..backbones.checkpoint import SAFE_CLASSES, read_checkpoint, read_safely
from . import numpy_pickles


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


def _load(filename, map_location=None, **_):
    return _without_config(read_checkpoint(filename, map_location))


def _without_config(checkpoint):
    """A checkpoint without `meta.config`, which `Runner.resume` would run as Python."""
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return checkpoint


def _without_code(loader):
    """One of mmengine's loaders, whose `torch.load` may run no code: those of model zoos and of S3."""
    @functools.wraps(loader)
    def load(filename, map_location=None, **options):
        before = os.environ.get('TORCH_FORCE_WEIGHTS_ONLY_LOAD')
        os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'  # also where `weights_only=False` is asked for
        try:
            return _without_config(read_safely(filename, lambda: loader(
                filename, map_location=map_location, **options)))
        finally:
            if before is None:
                del os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD']
            else:
                os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = before
    load.is_safe = True
    return load


def register() -> None:
    """Make mmengine read local and http(s) checkpoints through `read_checkpoint`, others without their code."""
    SAFE_CLASSES.extend(c for c in (HistoryBuffer, _restricted_getattr, *numpy_pickles.SAFE) if c not in SAFE_CLASSES)
    _load.__name__ = 'load_from_local'  # mmengine logs the part after 'load_from_'
    CheckpointLoader.register_scheme('', _load, force=True)
    CheckpointLoader.register_scheme(('http://', 'https://'), _load, force=True)
    for prefix, loader in list(CheckpointLoader._schemes.items()):
        if loader is not _load and not hasattr(loader, 'is_safe'):
            CheckpointLoader.register_scheme(prefix, _without_code(loader), force=True)
