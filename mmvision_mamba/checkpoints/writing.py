"""Atomic writes that survive a killed process: under another name, synced, read back, renamed.

See also: resuming.py, engine/hooks/{safe_checkpoint,preemption}.py, commands/steps/restart.py.
"""
import errno
import os
import zipfile
from pathlib import Path

import torch

from ..errors import CheckpointError
from ..files import cleared
from .formats import load
from .reading import archive_problem, read_safely

PART = '.part'  # suffix of a file while it is written
_NO_SUCH_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # by fsync of a folder on some network file systems


def commit(part: str | os.PathLike, path: str | os.PathLike, checkpoint: bool = False) -> None:
    """Move the finished file `part` to `path`, in the same folder, such that a crash leaves the old file or the new.

    Args:
        part: the finished file.
        path: its final name.
        checkpoint: read it back before it is renamed, see `why_broken`. Default: False.

    Raises:
        OSError: the disk is full or broken; `path` is untouched.
        CheckpointError: `part` does not read back as a checkpoint; `path` is untouched.
    """
    _sync(part)
    if checkpoint and (problem := why_broken(part)):
        raise CheckpointError(problem)
    os.replace(part, path)
    _sync(Path(path).parent)


def write_text(path: str | os.PathLike, text: str) -> None:
    """`Path.write_text`, atomic."""
    part = cleared(Path(f'{path}{PART}'))
    try:
        part.write_bytes(text.encode(errors='surrogateescape'))
        commit(part, path)
    finally:
        part.unlink(missing_ok=True)


def save_checkpoint(checkpoint: dict, path: str | os.PathLike) -> None:
    """`torch.save`, atomic and read back."""
    part = cleared(Path(f'{path}{PART}'))
    try:
        with open(part, 'wb') as file:
            torch.save(checkpoint, file)
        commit(part, path, checkpoint=True)
    except RuntimeError as error:  # torch's 'file ends too early'; the cause, such as a full disk, is its context
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    finally:
        part.unlink(missing_ok=True)


def why_broken(path: str | os.PathLike) -> str | None:
    """Damage of a checkpoint file, as a phrase; None if its checksums hold and `read_checkpoint` accepts it."""
    path = Path(path)
    if not path.is_file():
        return 'not there'
    if problem := archive_problem(path):
        return problem
    try:
        if not (size := path.stat().st_size):
            return 'empty'
        with open(path, 'rb') as file:
            if file.read(2) == b'PK' and not zipfile.is_zipfile(path):
                return f'truncated: {size} bytes and no end of the archive'
        peek(path)
    except OSError as error:
        return f'unreadable: {error.strerror or error}'
    except CheckpointError as error:
        return str(error).splitlines()[0]
    return None


def peek(path: str | os.PathLike) -> dict:
    """Load a local checkpoint; its tensors are read from the file only when they are used.

    Raises:
        CheckpointError: see `read_checkpoint`.
    """
    return read_safely(path, lambda: load(path, lazy=True))


def _sync(path: str | os.PathLike) -> None:
    """Flush a file or folder to the disk, and drop a file from the cache such that its next reader reads the disk."""
    is_file = os.path.isfile(path)
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
        if hasattr(os, 'posix_fadvise') and is_file:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        if is_file or error.errno not in _NO_SUCH_SYNC:
            raise
    finally:
        os.close(handle)
