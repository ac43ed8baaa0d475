"""Where the files around this package are: in the checkout that it is run from, or, of a wheel, inside the package."""
import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# A wheel keeps configs, tools and the index of models here, where MIM looks for them (setup.py).
MIM = _PACKAGE / '.mim'
# The checkout; None where the package is installed without one, in a folder that belongs to many packages.
ROOT = _PACKAGE.parent if not MIM.is_dir() and (_PACKAGE.parent / 'setup.py').is_file() else None
CONFIGS = ROOT / 'configs' if ROOT else MIM / 'configs'


def import_path() -> dict[str, str]:
    """The environment variables by which another Python imports this package: none where it is installed."""
    if ROOT is None:
        return {}
    return dict(PYTHONPATH=os.pathsep.join([str(ROOT), *filter(None, os.environ.get('PYTHONPATH', '').split(
        os.pathsep))]))
