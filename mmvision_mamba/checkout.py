"""Paths of the checkout around this package, where there is one. Wheels hold no configs, results or demo."""
from pathlib import Path

from .errors import ConfigError

ROOT = Path(__file__).resolve().parents[1]


def configs_folder(what: str) -> Path:
    """Path of the folder configs/.

    Args:
        what: the command that needs it, for the error message.

    Raises:
        ConfigError: the package is installed without its checkout.
    """
    folder = ROOT / 'configs'
    if not folder.is_dir():
        raise ConfigError(f'{what} needs a checkout, whose configs it uses: there is no {folder}.\n'
                          'Clone the repository, and run it there')
    return folder
