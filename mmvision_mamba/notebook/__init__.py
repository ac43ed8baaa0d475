"""`Model`, one object over what the commands do, for notebooks. Needs mmengine, mmcv and mmdet or mmseg."""
from typing import TYPE_CHECKING, Any

from ..installation import openmmlab_problem
from ..lazy import attach

if TYPE_CHECKING:
    from .model import Model

__all__ = ['Model']
_import_name, __dir__ = attach(__name__, dict(Model='model'))


def __getattr__(name: str) -> Any:
    if name in __all__ and (problem := openmmlab_problem(name)) is not None:
        raise problem
    return _import_name(name)
