"""Errors a user can mend. The tools print their one or two lines and exit with code 2; anything else is a bug."""


class UserError(Exception):
    """Wrong input. The message names the file, key or argument, what was expected, and the way out."""


class ConfigError(UserError, ValueError):
    """A config file, key or argument that can't be used."""


class DataError(UserError, ValueError):
    """A data set, annotation or image that is missing or broken."""


class CheckpointError(UserError, RuntimeError):
    """A checkpoint that is broken, unsafe, or of another model."""


class ExportError(UserError, RuntimeError):
    """An exported file that doesn't compute what the model does."""


class DivergenceError(UserError, RuntimeError):
    """Training whose loss is no longer finite."""


class MissingExtraError(UserError, ImportError):
    """Something that needs packages which an optional extra of this distribution provides."""

    def __init__(self, what: str, extra: str | None = None):
        # One argument when an engine re-raises us with its own prefix: `type(e)(f'...: {e}')`.
        super().__init__(what if extra is None else
                         f"{what} needs packages that are not installed: pip install 'mmvision-mamba[{extra}]'")
