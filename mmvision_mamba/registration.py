"""Registers this package's parts with timm, mmengine, mmcv and mmdet, whatever the order of imports.

A config finds MambaVision by name only once it is registered, and registration must not cost the import of every
library there is. So parts register at once with the libraries that are imported already, and with each of the others
right after its import.

=========  =======================================================================================
library    registered with it
=========  =======================================================================================
timm       the published classifiers, for `timm.create_model`
mmengine   the backbones; where mmcv is installed too, runner, hooks, loops, optimiser wrappers
mmcv       the loading transforms; classification
mmdet      test-time augmentation of masks
=========  =======================================================================================

The backbones are in mmengine's root registry, where mmdet and mmseg find them too.
"""
import contextlib
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from . import mmcv_ops
from .lazy import find_by_others, put_finder


def register() -> None:
    """Register everything now, importing whichever of the libraries are installed."""
    for library in _PARTS:
        if find_spec(library) is not None:
            import_module(library)  # registers, if that was not done before


def _with_timm() -> None:
    from .backbones import timm_models  # noqa: F401


def _with_mmengine() -> None:
    from mmengine.registry import MODELS

    from .backbones import MambaVision, MM_mamba_vision
    for backbone in (MambaVision, MM_mamba_vision):  # the root registry, which toolboxes search after their own
        MODELS.register_module(module=backbone, force=True)  # again after a reload, of mmengine or of this package
    if find_spec('mmcv') is not None:
        from . import engine  # noqa: F401
        if 'mmcv' not in sys.modules:  # else mmcv is importing mmengine now, and registers when it is done
            import mmcv  # noqa: F401


def _with_mmcv() -> None:
    from . import classification  # noqa: F401
    from .datasets import loading  # noqa: F401


def _with_mmdet() -> None:
    with contextlib.suppress(ImportError):  # mmcv has no compiled operators: mmdet's data sets and metrics work without
        from .evaluation import tta  # noqa: F401


# Library -> function that registers this package's parts with it.
_PARTS: dict[str, Callable[[], None]] = dict(
    timm=_with_timm, mmengine=_with_mmengine, mmcv=_with_mmcv, mmdet=_with_mmdet)


class _AfterImport(MetaPathFinder):
    """Finds the libraries of `_PARTS` through the other finders, and gives them a loader that also registers."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in _PARTS:
            return None
        spec = find_by_others(self, fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader, _PARTS[fullname])
        return spec


class _RegisteringLoader(Loader):
    """Executes a library's module with its own loader, then registers this package's parts with it."""

    def __init__(self, loader: Loader, register_parts: Callable[[], None]):
        self._loader, self._register_parts = loader, register_parts

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader  # no trace of this class stays
        module.__spec__.loader = self._loader  # type: ignore[union-attr]
        self._loader.exec_module(module)
        self._register_parts()

    def __getattr__(self, name: str) -> Any:  # callers of `find_spec` may ask the loader for more
        if name == '_loader':  # asked for by `copy`, before there is one
            raise AttributeError(name)
        return getattr(self._loader, name)


def install() -> None:
    """Register with the libraries that are imported already; wait for the others."""
    mmcv_ops.install()
    put_finder(_AfterImport(), first=True)
    for library, register_parts in _PARTS.items():
        if sys.modules.get(library) is not None:  # None: made to look as if it were not installed
            register_parts()
