"""Errors a user can mend. Commands print their one or two lines and end with an exit code; anything else is a bug."""
import re
from importlib import import_module

from .printable import printable


class UserError(Exception):
    """Wrong input. The message names the file, key or argument, what was expected, and the way out.

    Attributes:
        exit_code: exit code of the command that this error ends.
    """
    exit_code = 2

    def __str__(self) -> str:
        return printable(super().__str__())


class ConfigError(UserError, ValueError):
    """A config file, key or argument that can't be used."""


class DataError(UserError, ValueError):
    """A data set, annotation or image that is missing or broken."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint that is broken, unsafe, or of another model."""


class ExportError(UserError, RuntimeError):
    """An exported file that doesn't compute what the model does."""
    exit_code = 1


class DivergenceError(UserError, RuntimeError):
    """Training whose loss is no longer finite."""


class MissingOperatorError(UserError, NotImplementedError):
    """An operator of mmcv that only compiled mmcv has."""


class MissingExtraError(UserError, ImportError):
    """A feature whose packages are not installed; an optional extra of this distribution provides them."""

    def __init__(self, what: str, extra: str | None = None):
        # Without `extra` when mmengine's lazy import re-raises this error with a prefix: `type(e)(f'...: {e}')`.
        super().__init__(what if extra is None else
                         f'{what} needs packages that are not installed: {how_to_install(extra)}')


def how_to_install(extra: str) -> str:
    """The command that installs the packages of an extra, which it names: wherever this package came from."""
    from importlib import metadata  # slow to import
    try:
        requirements = metadata.requires('mmvision-mamba') or ()
    except metadata.PackageNotFoundError:  # run from its checkout
        requirements = ()
    marker = re.compile(rf"""(.+?) *; *extra *== *["']{re.escape(extra)}["']""")
    packages = [f"'{match[1]}'" for match in map(marker.fullmatch, requirements) if match]
    return f'pip install {" ".join(packages)} (the extra {extra!r})' if packages else \
        f"pip install -e '.[{extra}]' in the checkout"


def require(what: str, extra: str, *packages: str) -> None:
    """Raise MissingExtraError where one of `packages` can't be imported; it names the `extra` that provides them."""
    for package in packages:
        try:
            import_module(package)
        except ModuleNotFoundError as error:
            raise MissingExtraError(what, extra) from error
        except ImportError as error:
            raise MissingExtraError(f"{what} needs {package}, which can't be imported: {error}\n"
                                    f'pip install --force-reinstall {package}') from error
