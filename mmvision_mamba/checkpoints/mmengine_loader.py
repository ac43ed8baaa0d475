"""Make mmengine read checkpoints without running code from them.

Since torch 2.6 mmengine 0.10.7 can't load its own checkpoints: they hold its `HistoryBuffer` and NumPy numbers, which
`weights_only` refuses. Its fork loads them with the check switched off, and so runs whatever a downloaded file says.
Here both read through `read_checkpoint`, with just the bookkeeping types that a Runner writes allowed.
"""
import functools
import os

from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import (
    load_from_ceph,
    load_from_mmcls,
    load_from_openmmlab,
    load_from_pavi,
    load_from_torchvision,
)

from . import numpy_pickles
from .reading import SAFE_CLASSES, read_checkpoint, read_safely


def _restricted_getattr(instance, name, *default):
    """`getattr` for unpickling, limited to public attributes of `HistoryBuffer`, which pickles its methods with it.

    The builtin one would let a file reach any function there is.
    """
    if (instance is not HistoryBuffer and type(instance) is not HistoryBuffer) or name.startswith('_'):
        raise AttributeError(f'getattr of {instance!r}, {name!r} is not allowed in a checkpoint')
    return getattr(instance, name, *default)


# torch's unpickler finds it by this name, in every version of torch that knows safe globals.
_restricted_getattr.__module__ = 'builtins'
_restricted_getattr.__name__ = _restricted_getattr.__qualname__ = 'getattr'


# mmengine's loaders of model zoos and remote storage, by the prefixes that it registers them for.
REMOTE = {
    ('modelzoo://', 'torchvision://'): load_from_torchvision,
    ('open-mmlab://', 'openmmlab://'): load_from_openmmlab,
    ('mmcls://',): load_from_mmcls,
    ('pavi://',): load_from_pavi,
    (r'(\S+\:)?s3://', r'(\S+\:)?petrel://'): load_from_ceph,
}


def register() -> None:
    """Make mmengine read local and http(s) checkpoints through `read_checkpoint`, and `REMOTE` ones without code."""
    SAFE_CLASSES.extend(c for c in (HistoryBuffer, _restricted_getattr, *numpy_pickles.SAFE) if c not in SAFE_CLASSES)
    CheckpointLoader.register_scheme(('', 'http://', 'https://'), load_from_local, force=True)
    for prefixes, loader in REMOTE.items():
        CheckpointLoader.register_scheme(prefixes, without_code(loader), force=True)


def load_from_local(filename, map_location=None, **_):
    """Load a checkpoint file or URL. mmengine logs the part of this function's name after 'load_from_'."""
    return _without_config(read_checkpoint(filename, map_location))


def without_code(loader):
    """Wrap one of mmengine's loaders such that its `torch.load` runs no code."""
    @functools.wraps(loader)
    def load(filename, map_location=None, **options):
        previous = os.environ.get('TORCH_FORCE_WEIGHTS_ONLY_LOAD')
        os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = '1'  # also where `weights_only=False` is asked for
        try:
            return _without_config(read_safely(filename, lambda: loader(
                filename, map_location=map_location, **options)))
        finally:
            if previous is None:
                del os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD']
            else:
                os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] = previous
    return load


def _without_config(checkpoint):
    """Remove `meta.config`, which `Runner.resume` would run as Python, from a checkpoint."""
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return checkpoint
