"""Atomic writes that survive a killed process; those of `checkpoints.writing` survive a machine that fails, too."""
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
