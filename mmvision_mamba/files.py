"""Files that are whole or not there, whatever ends the process; `engine.safe_files`: whatever ends the machine."""
import os
from collections.abc import Callable
from pathlib import Path


def replace(path: Path, make: Callable[[Path], object]) -> None:
    """Have `make` write a temporary file beside `path`, of the same suffix, and give it that name once it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.stem}.{os.getpid()}{path.suffix}')
    try:
        make(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
