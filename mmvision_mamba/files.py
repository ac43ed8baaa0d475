"""Atomic writes that survive a killed process, where those of `checkpoints.writing` survive a machine that fails, too;
text read with or without a byte order mark."""
import codecs
import os
from collections.abc import Callable
from pathlib import Path

_MARKS = {codecs.BOM_UTF32_LE: 'utf-32', codecs.BOM_UTF32_BE: 'utf-32', codecs.BOM_UTF8: 'utf-8-sig',
          codecs.BOM_UTF16_LE: 'utf-16', codecs.BOM_UTF16_BE: 'utf-16'}


def replace(path: Path, make: Callable[[Path], object]) -> None:
    """Write a file atomically: `path` holds its old content or all of the new.

    Args:
        path: the file; missing folders above it are made.
        make: writes the content to the path that it is given: a temporary file beside `path`, with the same suffix.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.stem}.{os.getpid()}{path.suffix}')
    try:
        make(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_text(path: str | os.PathLike) -> str:
    """Text of a file in UTF-8, or in what its byte order mark says, without that mark.

    Raises:
        OSError, UnicodeError: it can't be read, or holds something else.
    """
    return Path(path).read_text(encoding_of(path))


def encoding_of(path: str | os.PathLike) -> str:
    """Encoding of a text file by its byte order mark: 'utf-8' without one, 'utf-8-sig', 'utf-16' or 'utf-32'.

    Raises:
        OSError: it can't be read.
    """
    with open(path, 'rb') as file:
        start = file.read(4)
    return next((encoding for mark, encoding in _MARKS.items() if start.startswith(mark)), 'utf-8')
