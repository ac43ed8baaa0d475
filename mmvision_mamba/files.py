"""Atomic writes that survive a killed process, where those of `checkpoints.writing` survive a machine that fails, too;
reads that end, of regular files alone; text with or without a byte order mark."""
import codecs
import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from .errors import ConfigError
from .printable import shown

_MARKS = {codecs.BOM_UTF32_LE: 'utf-32', codecs.BOM_UTF32_BE: 'utf-32', codecs.BOM_UTF8: 'utf-8-sig',
          codecs.BOM_UTF16_LE: 'utf-16', codecs.BOM_UTF16_BE: 'utf-16'}


def cleared(path: Path) -> Path:
    """The path, for a temporary file: what lies there goes, a killed process's or a link, out of the folder perhaps."""
    path.unlink(missing_ok=True)
    return path


def replace(path: Path, make: Callable[[Path], object]) -> None:
    """Write a file atomically: `path` holds its old content or all of the new.

    Args:
        path: the file; missing folders above it are made.
        make: writes the content to the path that it is given: a temporary file beside `path`, with the same suffix.

    Raises:
        OSError: it can't be written, or there is something else than a regular file.
    """
    with contextlib.suppress(FileNotFoundError):
        _check_is_regular(os.stat(path), path)  # or a file would take the place of a device: of /dev/null, for instance
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.stem[:40]}.{os.getpid()}{path.suffix[:20]}')  # no longer than `path`, or short
    try:
        make(cleared(temporary))
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, os.fspath(temporary)):
            raise
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_output(path: str | os.PathLike, option: str) -> None:
    """Raise ConfigError where `replace` could write no file at `path`. Commands call it before they start to work.

    Args:
        path: the file that is to be written.
        option: of the command line, for the message.
    """
    path = Path(path)
    try:
        folder = next(above for above in path.absolute().parents if above.exists())
        if not path.name or path.is_dir():
            problem = 'it is a folder'
        elif not folder.is_dir():
            problem = f'{folder} is no folder'
        elif not os.access(folder, os.W_OK | os.X_OK):
            problem = f'{folder} is not writable'
        else:
            _check_is_regular(path.stat(), path)
            return
    except FileNotFoundError:
        return
    except OSError as error:
        problem = str(error.strerror)
    raise ConfigError(f"{option} '{shown(path)}': {problem}. Name a file in a folder that can be written to")


def open_file(path: str | os.PathLike) -> BinaryIO:
    """Open a regular file for reading bytes. Others, such as FIFOs and devices, may never end, or wait for ever.

    Raises:
        OSError: it can't be opened, or is something else: its `strerror` says which.
    """
    try:
        _check_is_regular(os.stat(path), path)  # before it is opened: on devices that has effects
        # Between the two calls a FIFO can have come in its place.
        handle = os.open(path, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0) | getattr(os, 'O_BINARY', 0)
                         | getattr(os, 'O_CLOEXEC', 0))
    except ValueError:  # NUL, lone surrogates
        raise OSError(errno.EINVAL, 'no file can have this name', path) from None
    try:
        _check_is_regular(os.fstat(handle), path)
        return os.fdopen(handle, 'rb')
    except BaseException:
        os.close(handle)
        raise


def _check_is_regular(status: os.stat_result, path: str | os.PathLike) -> None:
    mode = status.st_mode
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    kind = 'a FIFO' if stat.S_ISFIFO(mode) else 'a socket' if stat.S_ISSOCK(mode) else 'a device'
    raise OSError(errno.EINVAL, f'it is {kind}, not a regular file', path)


def read_bytes(path: str | os.PathLike, most: int | None = None) -> bytes:
    """The content of a regular file.

    Args:
        path: the file.
        most: bytes that it may have. Default: any number.

    Raises:
        OSError: it can't be read, is no regular file, or has more bytes.
    """
    with open_file(path) as file:
        try:
            content, size = _read(file, most)
        except OSError as error:  # such as an unreadable sector: it doesn't name the file
            raise OSError(error.errno, error.strerror, path) from None
    if most is not None and size > most:
        raise OSError(errno.EFBIG, f'it has {size} bytes or more, and {most} are allowed', path)
    return content


def _read(file: BinaryIO, most: int | None) -> tuple[bytes, int]:
    """The content and its size; a size above `most` without the content."""
    size = os.fstat(file.fileno()).st_size
    if most is not None and size > most:
        return b'', size
    content = file.read(size + 1) or b''
    if len(content) > size:  # it grows, or is one of those whose size no one knows, as in /proc
        content += (file.read() if most is None else file.read(most + 1 - len(content))) or b''
    return content, len(content)


def read_text(path: str | os.PathLike, most: int | None = None) -> str:
    """Text of a file in UTF-8, or in what its byte order mark says, without that mark; lines end in a line feed.

    Args:
        path, most: see `read_bytes`.

    Raises:
        OSError, UnicodeError: it can't be read, or holds something else.
    """
    content = read_bytes(path, most)
    return content.decode(_encoding(content)).replace('\r\n', '\n').replace('\r', '\n')


def encoding_of(path: str | os.PathLike) -> str:
    """Encoding of a text file by its byte order mark: 'utf-8' without one, 'utf-8-sig', 'utf-16' or 'utf-32'.

    Raises:
        OSError: it can't be read.
    """
    with open_file(path) as file:
        return _encoding(file.read(4))


def _encoding(start: bytes) -> str:
    return next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), 'utf-8')


def sha256_of(path: str | os.PathLike) -> str:
    """SHA-256 of a file, 64 hexadecimal digits.

    Raises:
        OSError: it can't be read.
    """
    found = hashlib.sha256()
    with open(path, 'rb') as content:
        while block := content.read(2**20):
            found.update(block)
    return found.hexdigest()
