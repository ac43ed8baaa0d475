"""Files that are whole or not there: written beside their place, synced, read back, renamed."""
import errno
import os
import zipfile
from pathlib import Path

import torch

from ..backbones.checkpoint import archive_problem, read_safely
from ..errors import CheckpointError

PART = '.part'  # what a file is called while it is written
_NO_SUCH_SYNC = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)  # of a folder, on some network file systems


def commit(part: str | os.PathLike, path: str | os.PathLike, checkpoint: bool = False) -> None:
    """Move the finished file `part` to `path`, in the same folder, such that a crash leaves the old file or the new.

    Args:
        part: what was written.
        path: its name from now on.
        checkpoint: whether to read it back first, see `why_broken`. Default: False.

    Raises:
        OSError: the disk is full or broken; `path` is untouched.
        CheckpointError: it does not read back as a checkpoint; `path` is untouched.
    """
    _sync(part)
    if checkpoint and (problem := why_broken(part)):
        raise CheckpointError(problem)
    os.replace(part, path)
    _sync(Path(path).parent)


def write_text(path: str | os.PathLike, text: str) -> None:
    """`Path.write_text`, whole or not at all."""
    part = Path(f'{path}{PART}')
    try:
        part.write_text(text)
        commit(part, path)
    finally:
        part.unlink(missing_ok=True)


def save_checkpoint(checkpoint: dict, path: str | os.PathLike) -> None:
    """`torch.save`, whole or not at all."""
    part = Path(f'{path}{PART}')
    try:
        with open(part, 'wb') as file:
            torch.save(checkpoint, file)
        commit(part, path, checkpoint=True)
    except RuntimeError as error:  # torch's own of a file that ends too early; what ended it, a full disk, is behind it
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    finally:
        part.unlink(missing_ok=True)


def why_broken(path: str | os.PathLike) -> str | None:
    """What is wrong with a checkpoint file; None: every byte is as it was written, and `read_checkpoint` takes it."""
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
    """What a local checkpoint holds; its tensors are read only when they are used.

    Raises:
        CheckpointError: see `read_checkpoint`.
    """
    mmap = zipfile.is_zipfile(path)
    return read_safely(path, lambda: torch.load(path, map_location='cpu', weights_only=True, mmap=mmap))


def _sync(path: str | os.PathLike) -> None:
    """Have a file or folder on the disk, not only in memory; a file's next reader gets it from there."""
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
