"""Files and folders made beside the name they are to have, so that what is there stays until the new is whole."""
import contextlib
import glob
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .errors import ConfigError
from .work_dirs import hold

OLD = 'old'  # what the name had before, in the yielded folder's parent, while it is replaced


@contextlib.contextmanager
def made_beside(target: Path) -> Iterator[Path]:
    """An empty folder on the target's disk to make it in, gone afterwards; what killed processes left there goes first.

    What is moved to `OLD` comes back where the target is not there at the end, whatever came between.

    Args:
        target: a file or folder, whose own folder is there.

    Raises:
        OSError: nothing can be made there.
    """
    clear(target)
    holder = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    try:
        with hold(holder):
            (holder / 'new').mkdir(0o755)
            yield holder / 'new'
    finally:
        with contextlib.suppress(OSError):  # else it stays for `clear`
            _bring_back(holder, target)
            shutil.rmtree(holder, ignore_errors=True)


def clear(target: Path) -> None:
    """Remove what killed processes left beside a target; what it replaces comes back where the new did not come."""
    for left in target.parent.glob(glob.escape(_prefix(target)) + '*'):
        if left.is_symlink():  # none that was made here: a folder from elsewhere may lead to one of the user's
            continue
        with contextlib.suppress(OSError, ConfigError):  # another process makes the target now, or it can't be changed
            with hold(left, wait=0):
                _bring_back(left, target)
            shutil.rmtree(left, ignore_errors=True)


def _bring_back(holder: Path, target: Path) -> None:
    """Give a target its earlier content again where the new did not come."""
    if (holder / OLD).exists() and not os.path.lexists(target):
        os.replace(holder / OLD, target)


def _prefix(target: Path) -> str:
    """What the names of these folders begin with, of this target alone and short, however long its own name is."""
    return f'.{target.stem[:40]}.{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]}.'
