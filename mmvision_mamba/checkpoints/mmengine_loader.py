"""Make mmengine read checkpoints without running code from them.

Since torch 2.6 mmengine 0.10.7 can't load its own checkpoints: they hold its `HistoryBuffer` and NumPy numbers, which
`weights_only` refuses. Its fork loads them with the check switched off, and so runs whatever a downloaded file says.
Here both read through `read_checkpoint`, with just the bookkeeping types that a Runner writes allowed.
"""
import functools
import os

from .reading import SAFE_CLASSES, read_checkpoint, read_safely


def _restricted_getattr(instance, name, *default):
    """`getattr` for unpickling, limited to public attributes of `HistoryBuffer`, which pickles its methods with it.

    The builtin one would let a file reach any function there is.
    """
    from mmengine.logging import HistoryBuffer
    if (instance is not HistoryBuffer and type(instance) is not HistoryBuffer) or name.startswith('_'):
        raise AttributeError(f'getattr of {instance!r}, {name!r} is not allowed in a checkpoint')
    return getattr(instance, name, *default)


# torch's unpickler finds it by this name, in every version of torch that knows safe globals.
_restricted_getattr.__module__ = 'builtins'
_restricted_getattr.__name__ = _restricted_getattr.__qualname__ = 'getattr'


def register() -> None:
    """Make mmengine read local and http(s) checkpoints through `read_checkpoint`, and all others without code.

    The others are model zoos, remote storage and whatever else is registered by now.
    """
    from mmengine.logging import HistoryBuffer  # mmengine's own import registers, so none at this module's top
    from mmengine.runner import CheckpointLoader
    SAFE_CLASSES.extend(c for c in (HistoryBuffer, _restricted_getattr) if c not in SAFE_CLASSES)
    # mmengine 0.10.7 has no seam here: nothing public tells which loaders there are.
    for prefix, loader in list(CheckpointLoader._schemes.items()):
        local = prefix in ('', 'http://', 'https://')
        if loader is not load_from_local and not hasattr(loader, 'runs_no_code'):
            CheckpointLoader.register_scheme(prefix, load_from_local if local else without_code(loader), force=True)


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
    load.runs_no_code = True
    return load


def _without_config(checkpoint):
    """Remove `meta.config`, which `Runner.resume` would run as Python, from a checkpoint."""
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return checkpoint
