"""Make mmengine read its own checkpoints on torch 2.6 and later; and, in processes that want it, without running code.

Since torch 2.6 mmengine 0.10.7 can't load its own checkpoints: they hold its `HistoryBuffer` and NumPy numbers, which
`weights_only` refuses. Its fork has a list of what else may be in a file, NumPy's own unpickling among it; what this
refuses it loads with the check switched off, and so runs whatever a downloaded file says. Where this package's Runner,
Inferencer or commands are used, both read through `read_checkpoint`, with just plain data and the bookkeeping types
that a Runner writes allowed. Elsewhere they read as ever, and mmengine its own files too.
"""
import functools
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch

from ..printable import printable
from . import enforce_safe_reading, hub, safe_reading_enforced
from .finite import warn_where_not_finite
from .formats import load
from .loaded import check_loaded, renamed
from .numpy_pickles import named
from .reading import SAFE_CLASSES, read_checkpoint, read_safely, safe_globals
from .trees import Refused
from .unpickling import KNOWN, allow


def _restricted_getattr(instance, name, *default):
    """`getattr` for unpickling, limited to public attributes of `HistoryBuffer`, which pickles its methods with it.

    The builtin one would let a file reach any function there is.
    """
    from mmengine.logging import HistoryBuffer
    if (instance is not HistoryBuffer and type(instance) is not HistoryBuffer) or name.startswith('_'):
        raise AttributeError(f'getattr of {instance!r}, {name!r} is not allowed in a checkpoint')
    return getattr(instance, name, *default)


_last_read = 'the checkpoint'  # what mmengine read last, for messages about what it loads next

# torch's unpickler finds it by this name, in every version of torch that knows safe globals.
_restricted_getattr.__module__ = 'builtins'
_restricted_getattr.__name__ = _restricted_getattr.__qualname__ = 'getattr'


def _config_dict(content):
    """What mmengine's `ConfigDict` is pickled as a call of."""
    from mmengine.config import ConfigDict
    if type(content) is not dict:
        raise TypeError('a ConfigDict is made of a dictionary')
    made = ConfigDict()
    dict.update(made, content)  # whose dictionaries are ConfigDicts already; its own way copies all of them each time
    return made


def _method_name(owner, name):
    """What stands for a method of a `HistoryBuffer`, which keeps those of its class."""
    from mmengine.logging import HistoryBuffer
    if owner is not KNOWN.get(_HISTORY) or name not in vars(HistoryBuffer) or name.startswith('_'):
        raise Refused('a method that is none of a history')
    return name


def _set_history(history, state):
    """Give a `HistoryBuffer` its numbers, and the number of them that it keeps."""
    if not isinstance(state, dict):
        raise Refused('a history without numbers')
    numbers = [state.get(key) for key in ('_log_history', '_count_history')]
    length = state.get('max_length')
    if not all(isinstance(array, np.ndarray) and array.ndim == 1 and array.dtype.kind in 'biuf' for array in numbers) \
            or len(numbers[0]) != len(numbers[1]) or type(length) is not int or length < 1:
        raise Refused('a history without numbers')
    history.__init__(max_length=length)
    history._log_history, history._count_history = map(np.asarray, numbers)


_HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'
_BOOKKEEPING = (_restricted_getattr, named('mmengine.config.config', 'ConfigDict', _config_dict))


def register() -> None:
    """Let mmengine's loaders accept the bookkeeping that mmengine writes; the rest is theirs, unless it is enforced.

    Once `enforce_safe_reading` is called, files and http(s) URLs are read by `read_checkpoint`, and all other sources
    (model zoos, remote storage, whatever else is registered by now) by their own loaders, without running code.
    """
    from mmengine.logging import HistoryBuffer  # mmengine's own import registers, so none at this module's top
    from mmengine.runner import CheckpointLoader
    SAFE_CLASSES.extend(c for c in (HistoryBuffer, *_BOOKKEEPING) if c not in SAFE_CLASSES)
    allow(_HISTORY, new=HistoryBuffer, state=_set_history, type_=HistoryBuffer)
    allow('mmengine.config.config.ConfigDict', _config_dict)
    allow('builtins.getattr', _method_name)
    for prefix in hub.PREFIXES:
        if prefix not in CheckpointLoader._schemes:  # mmengine has none; these are always read without running code
            CheckpointLoader.register_scheme(prefix, load_from_local)
    # mmengine 0.10.7 has no seam here: nothing public tells which loaders there are.
    for prefix, loader in list(CheckpointLoader._schemes.items()):
        asked = getattr(loader, 'reads_safely', None)
        if asked is not safe_reading_enforced:
            loader = loader.__wrapped__ if asked else loader  # else an earlier import of this package would be asked
            safe = load_from_local if prefix in ('', 'http://', 'https://', *hub.PREFIXES) else without_code(loader)
            CheckpointLoader.register_scheme(prefix, _either(loader, safe), force=True)


def enforce() -> None:
    """`enforce_safe_reading`, where mmengine is imported already; for loaders registered since then, too.

    What mmengine loads into a module is then compared with the file, see `check_loaded`.
    """
    from mmengine import runner
    enforce_safe_reading()
    register()
    # mmengine 0.10.7 has no seam here: it logs which tensors could not be copied, and goes on with random ones.
    if not hasattr(runner.checkpoint.load_state_dict, 'checks'):
        runner.checkpoint.load_state_dict = runner.load_state_dict = _checked(runner.checkpoint.load_state_dict)
        runner.CheckpointLoader.load_checkpoint = staticmethod(
            _unlogged(runner.CheckpointLoader.load_checkpoint))


def _checked(load_state_dict: Callable) -> Callable:
    @functools.wraps(load_state_dict)
    def load_and_check(module, state_dict, strict=False, logger=None):
        from mmengine.model import BaseTTAModel, is_model_wrapper
        bare = module
        while is_model_wrapper(bare) or isinstance(bare, BaseTTAModel):
            bare = bare.module
        state_dict = renamed(state_dict, bare.state_dict().keys())
        load_state_dict(module, state_dict, strict, logger)
        check_loaded(bare, state_dict, _last_read)
    load_and_check.checks = check_loaded
    return load_and_check


def _unlogged(load_checkpoint: Callable) -> Callable:
    # mmengine 0.10.7 has no seam here: it logs or prints a name before anything looks at it.
    @functools.wraps(load_checkpoint)
    def load(filename, *args, **options):
        name = str(filename)
        if printable(name) != name or '\n' in name:  # a password, which is refused, escapes to a terminal, a line of it
            return read_checkpoint(filename)
        return load_checkpoint(filename, *args, **options)
    return load


def _either(loader: Callable, safe: Callable) -> Callable:
    """A loader that is `safe` where that is enforced, and else mmengine's own, `loader`.

    That is mmengine's whole behaviour, and on torch 2.6 and later a bit more: mmengine 0.10.7 leaves `weights_only` to
    torch, and so is refused its own checkpoints there, and the published ones with their Namespace. Its fork needs no
    help: its own list and the stand-ins of `SAFE_CLASSES` would meet under the same names.
    """
    @functools.wraps(loader)  # mmengine logs the part of the name after 'load_from_'
    def read(filename, map_location=None, **options):
        global _last_read
        _last_read = str(filename)
        if safe_reading_enforced():
            return safe(filename, map_location=map_location, **options)
        with nullcontext() if _fork() else safe_globals():
            return loader(filename, map_location=map_location, **options)
    read.reads_safely = safe_reading_enforced
    return read


def load_from_local(filename, map_location=None, **_):
    """Load a checkpoint file or URL."""
    return _without_config(read_checkpoint(filename, map_location))


def without_code(loader):
    """Wrap one of mmengine's loaders such that its `torch.load` is `formats.load`, and `read_checkpoint` downloads."""
    @functools.wraps(loader)
    def read(filename, map_location=None, **options):
        from mmengine.runner import checkpoint as runner_checkpoint
        # mmengine 0.10.7 has no seam here: a loader is not told what to load a file with, or what to get it with.
        torchs, torch.load = torch.load, lambda file, map_location=None, *_, **__: load(file, map_location)
        mmengines = runner_checkpoint.load_url
        runner_checkpoint.load_url = lambda url, map_location=None, **_: read_checkpoint(url, map_location)
        try:
            checkpoint = read_safely(filename, lambda: loader(filename, map_location=map_location, **options))
        finally:
            torch.load, runner_checkpoint.load_url = torchs, mmengines
        warn_where_not_finite(checkpoint, str(filename))
        return _without_config(checkpoint)
    return read


def _fork() -> bool:
    """Whether mmengine has a list of its own of what is safe, as its fork has."""
    from mmengine.runner import checkpoint
    return hasattr(checkpoint, 'get_torch_safe_globals')


def _without_config(checkpoint):
    """Remove `meta.config`, which `Runner.resume` would run as Python, from a checkpoint."""
    if isinstance(checkpoint, dict) and isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    return checkpoint
