"""Read checkpoint files without running code from them, and take the weights out of their wrapping."""
import argparse
import os
import re
import sys
import zipfile
from collections.abc import Callable, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from ..allocator import is_failed_allocation
from ..errors import CheckpointError, UserError
from ..printable import shown
from ..text import shortened
from . import numpy_pickles, plain_pickles
from .fields import READ, check_fields
from .finite import warn_where_not_finite
from .formats import load
from .local_files import local_file
from .shards import is_index, read_shards
from .trees import Refused
from .unpickling import ForeignClass

# What mmengine's own loaders may read besides, where safe reading isn't enforced. timm-style training checkpoints, the
# published ones among them, hold their arguments as a Namespace.
SAFE_CLASSES: list = [argparse.Namespace, *numpy_pickles.SAFE, *plain_pickles.SAFE]


def read_checkpoint(path: str | os.PathLike, map_location: Any = 'cpu', sha256: str | None = None) -> Any:
    """Load a checkpoint file: dense tensors, plain Python data and bookkeeping, see `unpickling`.

    Formats are told by the content: what `torch.save` writes (`.pth`, `.pth.tar`, `.pt`, `.bin`), and safetensors,
    whose tensors are read from the file as they are used. Weights in several files are named by their index, a
    `.index.json` beside them.

    Args:
        path: a file; on the Hub, `hf://OWNER/REPO[@REVISION][/FILE]` or a URL of its, see `hub`; or another URL: file,
            https, or http with a hash; downloaded once, into a folder of its own below
            `torch.hub.get_dir()/checkpoints`. It may end in `#sha256=…`; a URL whose file name has torch.hub's form
            `NAME-HASH.EXT` is checked against that.
        map_location: the tensors' device; anything else than a device or its name: the CPU. Default: 'cpu'.
        sha256: the file's SHA-256, or 8 or more of its first hexadecimal digits. Default: from the path, if it has one.

    Weights that are NaN or infinite are read, with a warning.

    Raises:
        CheckpointError: the file is missing, truncated, damaged, not a checkpoint, has another SHA-256, or holds
            what no checkpoint needs (named).
    """
    file = local_file(path, sha256)
    checkpoint = read_shards(file, lambda shard: read_safely(shard, lambda: load(shard, map_location))) \
        if is_index(file) else read_safely(file, lambda: load(file, map_location))
    warn_where_not_finite(checkpoint, str(file))
    return checkpoint


def archive_problem(file: str | os.PathLike) -> str | None:
    """Damage of a checkpoint's zip archive, as a phrase; None if it is sound, or the file is no zip archive.

    Each record has a CRC-32, which torch doesn't check: a flipped bit would become a wrong weight.
    """
    try:
        if not zipfile.is_zipfile(file):
            return None
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
    except OSError as error:
        return f'unreadable: {error.strerror or error}'
    except MemoryError:
        return 'unreadable: there is too little memory'
    except Exception as error:  # of zipfile, its decompressors or struct, depending on the damage
        return f'bit-rotten: {error}'
    return damaged and f'bit-rotten: {damaged} is not what its checksum says'


def read_safely(file: str | os.PathLike, read: Callable[[], Any]) -> Any:
    """Call `read`, which reads a checkpoint by `formats.load`; raises CheckpointError about `file` if that fails.

    What it returns is as `fields.READ` says.
    """
    try:
        checkpoint = read()
    except UserError:
        raise
    except ForeignClass as error:
        if str(error).startswith(('mmengine.', 'builtins.getattr')) and _import_mmengine():
            return read_safely(file, read)
        raise CheckpointError(
            f'{file} holds an object of {shown(str(error), 100)}, which is neither a tensor nor training bookkeeping: '
            'refused, since loading it could run code. Ask its author for a file of weights alone.') from None
    except Refused as error:
        raise CheckpointError(f'{file} holds {error}: refused, since no checkpoint of a training run does.\n'
                              f'{error.way_out}') from None
    except zipfile.BadZipFile as error:
        record = re.search("Bad CRC-32 for file '(.*)'", str(error))
        problem = f'{record[1]} is not what its checksum says' if record else str(error)
        raise CheckpointError(f'{file}: bit-rotten: {shown(problem)}.\nDownload or copy it again.') from None
    except OSError as error:
        if error.filename is None:  # of a broken file's parts
            raise _broken(file, type(error).__name__) from None
        raise CheckpointError(f'{file} can not be read: {error.strerror or error}') from None
    except Exception as error:  # whatever a broken or hostile file makes of its parts
        if is_failed_allocation(error):
            raise CheckpointError(f'{file} needs more memory than there is.') from None
        raise _broken(file, type(error).__name__) from None
    check_fields(checkpoint, str(file), READ, 'Ask its author for a file of weights alone.')
    return checkpoint


def _import_mmengine() -> bool:
    """Import mmengine, upon which its bookkeeping types join `SAFE_CLASSES`; False if it was, or can't be."""
    if 'mmengine' in sys.modules:
        return False
    with suppress(ImportError):
        import_module('mmengine')
    return 'mmengine' in sys.modules


def _broken(path: str | os.PathLike, reason: str) -> CheckpointError:
    size = f' ({os.path.getsize(path)} bytes)' if os.path.exists(path) else ''
    return CheckpointError(f'{path} is truncated or not a checkpoint{size}: {reason}\n'
                           'Download or copy it again.')


@contextmanager
def safe_globals():
    """Allow `SAFE_CLASSES` in torch's unpickler within the block only.

    What the process allowed before stays allowed, but where a stand-in has its name: of two, torch takes either.
    """
    previous = list(torch.serialization.get_safe_globals())  # torch 2.4 returns the very list that it adds to
    ours = {_pickled_name(entry) for entry in SAFE_CLASSES}
    _set_safe_globals([*(entry for entry in previous if _pickled_name(entry) not in ours), *SAFE_CLASSES])
    try:
        yield
    finally:
        _set_safe_globals(previous)


def _set_safe_globals(entries: list) -> None:
    torch.serialization.clear_safe_globals()
    torch.serialization.add_safe_globals(entries)


def _pickled_name(entry) -> str:
    """The name by which a file calls a safe global, which can be a pair of it and another name."""
    return entry[1] if isinstance(entry, tuple) else f'{entry.__module__}.{entry.__qualname__}'


def extract_state_dict(checkpoint: Any, prefix: str | None = None) -> dict[str, Tensor]:
    """The weights in a checkpoint: under `state_dict`, else `model`, else bare; without `module.` and `encoder.`.

    Args:
        checkpoint: as `read_checkpoint` returns it.
        prefix: of the keys to take, e.g. 'backbone'; it is removed. None: 'backbone.' where there are such keys (a
            detector's or segmentor's file), else all keys.

    Raises:
        CheckpointError: it has no tensors, or none under `prefix`.
    """
    state = checkpoint
    for key in ('state_dict', 'model'):
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
            break
    if not isinstance(state, Mapping) or not any(isinstance(v, Tensor) for v in state.values()):
        keys = shortened(state, 5) if isinstance(state, Mapping) else type(state).__name__
        raise CheckpointError(f'no weights under state_dict, model or at the top of the checkpoint; it holds: {keys}')
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    state = {str(key).removeprefix('module.'): value for key, value in tensors.items()}
    if len(state) < len(tensors):
        raise CheckpointError('the checkpoint has weights both with and without module. before the same names: keep '
                              'those of one kind')
    if min(state).startswith('encoder'):
        state = _with_prefix(state, 'encoder.')
    if prefix is None and any(k.startswith('backbone.') for k in state):
        prefix = 'backbone'
    if prefix:
        prefix = prefix.rstrip('.') + '.'
        if not (selected := _with_prefix(state, prefix)):
            raise CheckpointError(f'no key of the checkpoint begins with {prefix!r}; they begin with '
                                  f'{shortened(sorted({k.split(".")[0] for k in state}))}')
        state = selected
    return state


def _with_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
