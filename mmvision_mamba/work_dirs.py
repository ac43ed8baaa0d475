"""The folder that a run writes to: checked before anything is read, held by one run at a time, cleared of its own logs.

A run holds its folder by a lock of the operating system on the file `LOCK` in it, which goes with the process, however
that ends. Of a job of several processes the first holds it; only that one writes checkpoints.
"""
import contextlib
import errno
import json
import os
import shutil
import socket
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from .errors import ConfigError
from .files import open_file
from .printable import shown
from .processes import warn_once

LOCK = '.lock'
ANEW = 'anew'  # in its record: that a run begins anew where the pointer is still an earlier one's
RUN = 'run'  # in its record: the number of the training that began there anew, see `checkpoints.newest.Saved`
_SPACE = 2 ** 20  # bytes that have to be free at the start
_LENGTH = 512  # of the record in the file: written over in one go, so that who reads it meanwhile finds it whole
_BYTE = 2 ** 30  # the byte that is locked, far behind the record: on Windows no one else may read it
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
_held: dict[str, tuple[int, int]] = {}  # by path of the lock: handle, and process, for forks inherit this but no lock
_log_folders: list[Path] = []  # made by this process

if sys.platform == 'win32':
    import msvcrt

    def _lock(handle: int) -> None:
        os.lseek(handle, _BYTE, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(handle: int) -> None:
        # Of the process, where `flock` is of whoever inherits the file: workers would keep it when the run is killed.
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _BYTE)


def make_work_dir(path: object, name: str = '--work-dir') -> list[Path]:
    """Make a folder, and try whether a run can write to it.

    Args:
        path: the folder; those above it are made too.
        name: of the argument or key, for errors. Default: '--work-dir'.

    Returns:
        The folders that weren't there before, the innermost first.

    Raises:
        ConfigError: it is no path, or can't be made or written to, with the reason; nothing is left behind.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise ConfigError(f'{name}: expected a folder, got {path!r}')
    folder = Path(path)
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(_SPACE))
            probe.flush()
            os.fsync(probe.fileno())
    except (OSError, ValueError) as error:  # of NUL and lone surrogates
        remove_empty(missing)
        reason = getattr(error, 'strerror', None) or str(error)
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = 'a file or a broken link is in its place'
        way_out = 'Free some space' if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) \
            else 'Name a folder that can be written to'
        raise ConfigError(f'{name}: {shown(folder)} can not be used: {reason}.\n{way_out}.') from None
    return missing


def remove_empty(folders: list[Path]) -> None:
    """Remove folders, the innermost first, up to one that isn't empty: another job writes there."""
    for path in folders:
        with contextlib.suppress(OSError, ValueError):
            path.rmdir()


@contextlib.contextmanager
def hold(folder: str | os.PathLike, wait: float = 1., way_out: str = '--work-dir DIR') -> Iterator[None]:
    """Hold a folder against other processes; one that this process holds already stays held.

    Where the process is killed, or ends by an error, the file stays beside what else is there, with what `note` wrote;
    only the lock counts. On a file system without locks (some network ones) a warning says that nothing is held.

    Args:
        folder: a folder that can be written to.
        wait: seconds to wait for another process to let go. Default: 1.
        way_out: how to name another folder, for the error.

    Raises:
        ConfigError: another process holds it, with its number, host and since when.
    """
    path = Path(folder).resolve() / LOCK
    if _is_held(path):
        yield
        return
    handle = _take(path, wait, way_out)
    _held[str(path)] = handle, os.getpid()
    note(folder, pid=os.getpid(), host=socket.gethostname(), since=time.strftime('%Y-%m-%d %H:%M:%S'))
    ended = False
    try:
        yield
        ended = True
    finally:
        with contextlib.suppress(OSError):  # on Windows it can't be removed while it is open
            if ended or os.listdir(path.parent) == [LOCK]:
                path.unlink()
        del _held[str(path)]
        with contextlib.suppress(OSError):  # network file systems may report late what failed before
            os.close(handle)


def note(folder: str | os.PathLike, **facts: object) -> None:
    """Add facts to the record of a folder that this process holds; without effect on others."""
    path = Path(folder).resolve() / LOCK
    if _is_held(path):
        record = json.dumps({**record_of(folder), **facts}).encode().ljust(_LENGTH)
        handle = _held[str(path)][0]
        with contextlib.suppress(OSError):  # a full disk: the lock holds all the same
            os.lseek(handle, 0, os.SEEK_SET)
            os.write(handle, record)


def record_of(folder: str | os.PathLike) -> dict:
    """What is noted about the run that holds a folder, or that was killed while it did; {} where nothing is known."""
    path = Path(folder).resolve() / LOCK
    try:
        if _is_held(path):  # to open and close the file anew would give the lock up
            handle = _held[str(path)][0]
            os.lseek(handle, 0, os.SEEK_SET)
            text = os.read(handle, _LENGTH)
        else:
            with open_file(path) as file:
                text = file.read(_LENGTH)
        record = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _is_held(path: Path) -> bool:
    return _held.get(str(path), (0, 0))[1] == os.getpid()


def _take(path: Path, wait: float, way_out: str) -> int:
    """A handle of the locked file."""
    end, said = time.monotonic() + wait, False
    while True:
        try:
            handle = _open(path)
        except OSError as error:
            raise ConfigError(f'{shown(path)} can not be written to: {error.strerror}.\nNo run can hold the folder; '
                              f'give this one another: {way_out}') from None
        try:
            _lock(handle)
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except FileNotFoundError:
            pass  # whoever held it removed it just now, as it ended
        except OSError as error:
            if error.errno not in _TAKEN:
                warn_once(f'{shown(path.parent)} is on a file system without locks ({error.strerror}): do not start '
                          'a second run in it')
                return handle
            if time.monotonic() >= end:
                os.close(handle)
                record = record_of(path.parent)
                pid, host, since = (shown(record.get(key, 'unknown'), 80) for key in ('pid', 'host', 'since'))
                raise ConfigError(f'{shown(path.parent)}: a run is writing to this folder, process {pid} on {host}, '
                                  f'since {since}.\nLet it end, or give this run another folder: {way_out}') from None
            if wait > 5 and not said:
                said = True
                print(f'{shown(path.parent)} is held by another process; waiting {wait:.0f} s for it', flush=True)
            time.sleep(min(0.2, wait))
        os.close(handle)


def _open(path: Path) -> int:
    """A handle of the file at `path`, made where there is none; OSError where it is a link or no regular file.

    A folder from elsewhere could have a link there, to a file that the record would be written over.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, 'O_CLOEXEC', 0) | getattr(os, 'O_NOFOLLOW', 0)
                     | getattr(os, 'O_NONBLOCK', 0), 0o666)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, 'it is no regular file', path)
    return handle


def make_log_folder(work_dir: str | os.PathLike, timestamp: str) -> str:
    """Make a folder of the form '20250131_235959' for the logs of a run that no other run has.

    Args:
        work_dir: the folder above it, which is there.
        timestamp: the present time. Where a folder has this name or a later one, the second after the last: a clock may
            be set back, or be in another time zone than the one before, and readers go by the names.

    Returns:
        Its name.
    """
    form = '%Y%m%d_%H%M%S'
    moment = datetime.strptime(timestamp, form)
    for name in os.listdir(work_dir):
        with contextlib.suppress(ValueError, OverflowError):  # other names; after the last second that there is
            moment = max(moment, datetime.strptime(name, form) + timedelta(seconds=1))
    while True:
        path = Path(work_dir) / moment.strftime(form)
        try:
            path.mkdir()
        except FileExistsError:
            moment += timedelta(seconds=1)
        else:
            _log_folders.append(path)
            return path.name


def remove_log_folders(work_dir: str | os.PathLike) -> None:
    """Remove the folders that this process made in `work_dir` by `make_log_folder`."""
    parent = os.path.realpath(work_dir)
    for path in [path for path in _log_folders if os.path.realpath(path.parent) == parent]:
        _log_folders.remove(path)
        shutil.rmtree(path, ignore_errors=True)
