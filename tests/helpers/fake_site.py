"""Folders that look like site-packages with broken installations in them, and interpreters that see nothing else."""
import subprocess
import sys
import textwrap
from pathlib import Path

from . import ROOT


def distribution(site: Path, name: str, version: str, files: tuple[str, ...] = ()) -> Path:
    """Make the metadata of a distribution, as pip leaves it; returns its RECORD."""
    folder = site / f'{name.replace("-", "_")}-{version}.dist-info'
    folder.mkdir(parents=True)
    (folder / 'METADATA').write_text(f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
    (folder / 'RECORD').write_text(''.join(f'{file},sha256=AA,2\r\n' for file in files)
                                   + f'{folder.name}/RECORD,,\r\n', newline='')
    return folder / 'RECORD'


def mmcv_lite(site: Path, version: str = '2.1.0') -> Path:
    """Make an installed mmcv-lite; returns the folder of the module."""
    distribution(site, 'mmcv-lite', version, ('mmcv/__init__.py', 'mmcv/version.py'))
    (site / 'mmcv').mkdir()
    (site / 'mmcv/__init__.py').write_text('from .version import *\n')
    (site / 'mmcv/version.py').write_text(f"__version__ = '{version}'\n")
    return site / 'mmcv'


def python(site: Path, code: str) -> str:
    """What `code` prints in an interpreter whose only packages are this one and those of `site`."""
    start = f'import sys; sys.path[:0] = [{str(ROOT)!r}, {str(site)!r}]\n'
    done = subprocess.run([sys.executable, '-I', '-S', '-c', start + textwrap.dedent(code)], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
