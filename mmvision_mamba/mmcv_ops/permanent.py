"""The file `mmcv/_ext.py` for an installed mmcv-lite: programs that import mmdet or mmseg first find the operators too.

A finder for all of Python would cost a moment at every start of an interpreter; the file costs nothing until it is
imported. It is listed in the RECORD of mmcv's distribution, so that pip removes it together with that.
"""
import base64
import hashlib
import importlib
from importlib.metadata import distribution
from importlib.util import cache_from_source
from pathlib import Path

from ..errors import MissingExtraError, UserError
from ..files import replace
from ..installation import EXTENSION_FILE, InstallationError, compiled_operators, distributions, folder, mmcv_problem

_FIRST = '"""Operators of mmcv in PyTorch. Written by `mmvision-mamba setup-mmcv`, which takes it out with --remove."""'
_TEXT = f'''{_FIRST}
import sys

try:
    from mmvision_mamba.mmcv_ops import fill
except ModuleNotFoundError as error:
    if (error.name or '').partition('.')[0] != 'mmvision_mamba':
        raise
    raise ImportError('mmcv-lite has no operators of its own, and mmvision_mamba, which gave them to it, is no longer '
                      f'installed.\\nInstall it again; or, to be rid of them, delete {{__file__}}') from None
fill(sys.modules[__name__])
'''


class SetupError(UserError):
    """The file can't be put into mmcv, or taken out. Says why."""


def put_in() -> tuple[Path, bool]:
    """Write the file into the installed mmcv-lite.

    Returns:
        The file; whether anything changed.

    Raises:
        MissingExtraError: mmcv is not installed.
        InstallationError: it is installed twice or in parts.
        SetupError: it has operators already, compiled ones or another file, or its folder can't be written to.
    """
    if (problem := mmcv_problem()) is not None:
        raise InstallationError(problem)
    place = folder('mmcv')
    if place is None:
        raise MissingExtraError('setup-mmcv', 'openmmlab')
    if (compiled := compiled_operators()) is not None:
        raise SetupError(f'this mmcv has compiled operators, which are used as they are: {compiled}\n'
                         'Nothing is to be done; mmvision-mamba doctor tells whether they work.')
    file = place / EXTENSION_FILE
    if file.exists() and not _is_ours(file):
        raise SetupError(f'{file} is there already, and is not of mmvision_mamba: it stays as it is.\n'
                         'Remove it if you know that nothing needs it, and try again.')
    changed = not file.exists() or file.read_text() != _TEXT
    if changed:
        _write(file, _TEXT)
    changed |= _record(file, listed=True)
    importlib.invalidate_caches()
    return file, changed


def take_out() -> Path | None:
    """Remove the file; returns where it was, None where there is none. Raises SetupError where that can't be done."""
    file = present()
    if file is None:
        return None
    try:
        file.unlink()
        Path(cache_from_source(str(file))).unlink(missing_ok=True)
    except OSError as error:
        raise SetupError(f'{file} can not be removed ({error.strerror}).\n'
                         'Run this as the user who installed mmcv-lite.') from None
    _record(file, listed=False)
    return file


def present() -> Path | None:
    """The file, where it is in mmcv's folder, also in one that nothing else is left of."""
    place = folder('mmcv')
    file = place / EXTENSION_FILE if place is not None else None
    return file if file is not None and _is_ours(file) else None


def _is_ours(file: Path) -> bool:
    return file.is_file() and file.read_text(errors='replace').startswith(_FIRST)


def _write(file: Path, text: str) -> None:
    try:
        replace(file, lambda temporary: temporary.write_bytes(text.encode()))
    except OSError as error:
        raise SetupError(f'{file} can not be written ({error.strerror}).\n'
                         'Run this as the user who installed mmcv-lite, or in an environment of your own.') from None


def _record(file: Path, listed: bool) -> bool:
    """Add the file to the list of what pip removes with mmcv, or take it from there; returns whether that changed."""
    for name in distributions('mmcv'):
        files = distribution(name).files or []  # none where something else than pip installed it
        record = next((Path(entry.locate()) for entry in files if entry.name == 'RECORD'), None)
        if record is None or not any(entry.as_posix() == 'mmcv/__init__.py' for entry in files):
            continue
        before = record.read_bytes().decode().splitlines(keepends=True)
        after = [line for line in before if not line.startswith(f'mmcv/{EXTENSION_FILE},')]
        if listed:
            digest = base64.urlsafe_b64encode(hashlib.sha256(file.read_bytes()).digest()).rstrip(b'=').decode()
            after.append(f'mmcv/{EXTENSION_FILE},sha256={digest},{file.stat().st_size}\r\n')  # as pip writes it
        if after != before:
            _write(record, ''.join(after))
            return True
    return False
