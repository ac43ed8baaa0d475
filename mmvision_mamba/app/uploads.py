"""The folder of uploads and downloads of a page: of one process, with bounds on age and size, gone at its end."""
from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Collection
from functools import cache
from pathlib import Path

PREFIX = 'mmvision_mamba_page_'
SECONDS = 3600  # a file is removed after that long, and a folder that no process has kept for so long
MOST_BYTES = 2**32  # of all files together; the oldest go first
EVERY = 60  # seconds from one look to the next


@cache
def own_folder() -> Path:
    """A new folder in Gradio's, `GRADIO_TEMP_DIR`, or the system's; those that killed processes left are removed."""
    above = Path(os.environ.get('GRADIO_TEMP_DIR') or tempfile.gettempdir())
    above.mkdir(parents=True, exist_ok=True)
    for left in above.glob(f'{PREFIX}*'):
        with contextlib.suppress(OSError):
            if not left.is_symlink() and left.stat().st_mtime < time.time() - SECONDS:
                shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=above)).resolve()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def sweep(folder: Path, keep: Collection[str] = ()) -> None:
    """Remove what is too old in a page's folder, uploads that broke off too, and the oldest where it is too much.

    Args:
        folder: from `own_folder`; it is marked as one that is kept.
        keep: paths of files that stay. Default: none.
    """
    with contextlib.suppress(OSError):
        os.utime(folder)
    oldest, taken = time.time() - SECONDS, 0
    found = []
    for place, _, names in os.walk(folder, topdown=False):
        for path in (os.path.join(place, name) for name in names):
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                found.append((status.st_mtime, status.st_size, path))
        with contextlib.suppress(OSError):
            if place != str(folder) and os.lstat(place).st_mtime < oldest:
                os.rmdir(place)  # an empty one alone
    for when, size, path in sorted(found, reverse=True):
        if path in keep:
            continue
        taken += size
        if when < oldest or taken > MOST_BYTES:
            with contextlib.suppress(OSError):
                os.unlink(path)
