"""Atomic writes that survive a killed process, where those of `checkpoints.writing` survive a machine that fails, too;
text read with or without a byte order mark."""
import codecs
import os
from collections.abc import Callable
from pathlib import Path


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
    """Text of a file in UTF-8, or of one whose byte order mark says UTF-16, without that mark.

    Raises:
        OSError, UnicodeDecodeError: it can't be read, or holds something else.
    """
    content = Path(path).read_bytes()
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode('utf-16' if is_utf16 else 'utf-8-sig')
