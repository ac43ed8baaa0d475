"""Registers this package's parts with timm, mmengine, mmcv and mmdet, whatever the order of imports.

A config finds MambaVision by name only once it is registered, and registration must not cost the import of every
library there is. So parts register at once with the libraries that are imported already, and with each of the others
right after its import.

==============  =================================================================================================
library         registered with it
==============  =================================================================================================
timm            the published classifiers, for `timm.create_model`
mmengine        the backbones; file backends; where mmcv is installed too, runner, hooks, loops, optimiser wrappers;
                the configs of this package, as bases of others
mmcv            the loading transforms; classification
mmdet           test-time augmentation of masks, once mmdet has all that it derives from; data set, loading and metric
                of COCO's panoptic files, in the place of its own, once mmdet's registries are searched; COCO's
                evaluation by faster-coco-eval, where that is installed
==============  =================================================================================================

The backbones are in mmengine's root registry, where mmdet, mmseg and mmpretrain find them too.

A library that can't be imported, or beside which parts can't be registered, costs a warning: neither the import of this
package nor that of another library fails for it.
"""
import functools
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from . import bridges, mmcv_ops
from .installation import WITHOUT_PARTS, distributions, explain, folder, installed
from .lazy import find_by_others, put_finder


def register() -> None:
    """Register everything now, importing whichever of the libraries are installed."""
    for library in _PARTS:
        if installed(library.partition('.')[0]) and library != _DEPENDENCIES:
            try:
                import_module(library)  # registers, if that was not done before
            except Exception as error:
                _warn(library, error)


def _with_timm() -> None:
    from .backbones import timm_models  # noqa: F401


def _with_mmengine() -> None:
    bridges.after_mmengine()
    from mmengine.registry import MODELS

    from .backbones import MambaVision, MM_mamba_vision
    for backbone in (MambaVision, MM_mamba_vision):  # the root registry, which toolboxes search after their own
        MODELS.register_module(module=backbone, force=True)  # again after a reload, of mmengine or of this package
    _name_bases()
    _import_by_paths_alone()
    _let_go_of_lock()
    try:
        from .preflight import file_backends
        file_backends.register()
    except Exception as error:
        _warn('mmengine', error)
    if folder('mmcv') is not None:
        try:
            from . import engine  # noqa: F401
            if 'mmcv' not in sys.modules:  # else mmcv is importing mmengine now, and registers when it is done
                import mmcv  # noqa: F401
        except Exception as error:
            _warn('mmcv', error)


def _name_bases() -> None:
    """Let a config read after this inherit from this package's: `_base_ = 'mmvision_mamba::NAME.py'`."""
    from mmengine.config import Config

    from .configs import PREFIX, packaged_config

    # mmengine 0.10.7 has no seam here: it knows the prefixes of its own projects alone.
    others = Config._get_cfg_path

    def _get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(PREFIX):
            return str(packaged_config(cfg_path)), None  # None: parts keep the scope of the config that inherits
        return others(cfg_path, filename)
    Config._get_cfg_path = staticmethod(_get_cfg_path)


def _import_by_paths_alone() -> None:
    """Have mmengine's registries import what a dotted path names, and nothing for a type that is one word.

    mmengine 0.10.7 has no seam here: of a word that is not registered it imports the module of that name, if there is
    one on Python's path, in the folder a command was started in for instance. No type is a module.
    """
    from mmengine.registry import registry
    others = registry.get_object_from_string

    def get_object_from_string(obj_name: str) -> Any:
        return others(obj_name) if '.' in obj_name else None
    registry.get_object_from_string = get_object_from_string


def _let_go_of_lock() -> None:
    """Have mmengine let go of the lock around its named instances where one can't be made or found.

    mmengine 0.10.7 has no seam here: it keeps the lock, as after a tracker that could not start, and other threads that
    infer, those of the web page among them, wait for it for ever.
    """
    from mmengine.utils import manager

    for name in ('get_instance', 'get_current_instance'):
        others = vars(manager.ManagerMixin)[name].__func__
        if not hasattr(others, '__wrapped__'):  # it is not ours already, of this package before a reload
            setattr(manager.ManagerMixin, name, classmethod(_letting_go(others, manager._release_lock)))


def _letting_go(method: Callable, release: Callable[[], None]) -> Callable:
    @functools.wraps(method)
    def guarded(cls: type, *args: Any, **kwargs: Any) -> Any:
        try:
            return method(cls, *args, **kwargs)
        except BaseException:
            release()
            raise
    return guarded


def _with_mmcv() -> None:
    from . import classification  # noqa: F401
    from .datasets import loading  # noqa: F401


def _with_mmdet() -> None:
    from .evaluation import tta  # noqa: F401


def _with_mmdet_registry() -> None:
    """Let parts for panoptic files take the place of mmdet's own, which need the package panopticapi."""
    from mmdet.registry import DATASETS, METRICS, TRANSFORMS

    # mmengine 0.10.7 has no seam here: a registry imports these modules in turn before it is first searched.
    for registry, module in ((DATASETS, 'datasets.panoptic'), (TRANSFORMS, 'datasets.panoptic'),
                             (METRICS, 'evaluation.panoptic_metric')):
        name = f'{__package__}.{module}'
        if registry._imported:
            import_module(name)
        elif name not in registry._locations:
            registry._locations.append(name)


def _with_mmdet_metric() -> None:
    """Have mmdet's CocoMetric use faster-coco-eval, where a version is installed that gives the same numbers."""
    if os.environ.get('MMVISION_MAMBA_COCO_EVAL') != 'pycocotools' and any(
            version.startswith(_SAME_NUMBERS) for version in distributions('faster_coco_eval').values()):
        from mmdet.evaluation.metrics import coco_metric

        from .evaluation.fast_coco import FastCOCOeval
        coco_metric.COCOeval = FastCOCOeval  # mmdet 3.3.0 has no seam here


_SAME_NUMBERS = ('1.8.',)  # versions with which tests/evaluation/test_fast_coco.py passes
_DEPENDENCIES = 'mmpretrain.utils.dependency'  # nothing is registered with mmpretrain, see `bridges`
# Library, or the module of it that is imported when all that the parts need is -> function that registers the parts.
# While mmdet.models is being imported, it may import this package, through the operators of mmcv.
_PARTS: dict[str, Callable[[], None]] = {
    'timm': _with_timm, 'mmengine': _with_mmengine, 'mmcv': _with_mmcv, 'mmdet.models.test_time_augs': _with_mmdet,
    'mmdet.registry': _with_mmdet_registry, 'mmdet.evaluation.metrics.coco_metric': _with_mmdet_metric,
    _DEPENDENCIES: bridges.without_multimodal}


def _register_with(library: str) -> None:
    try:
        _PARTS[library]()
    except Exception as error:  # of whatever a broken installation ends in: assertions, missing symbols, …
        _warn(library, error)


def _warn(library: str, error: Exception) -> None:
    name = library.partition('.')[0]
    warnings.warn(f'{WITHOUT_PARTS} {name}: {explain(error)}', RuntimeWarning,
                  stacklevel=2)


class _AfterImport(MetaPathFinder):
    """Finds the libraries of `_PARTS` through the other finders, and gives them a loader that also registers."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in _PARTS:
            return None
        spec = find_by_others(self, fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _RegisteringLoader(spec.loader, fullname)
        return spec


class _RegisteringLoader(Loader):
    """Executes a library's module with its own loader, then registers this package's parts with it."""

    def __init__(self, loader: Loader, library: str):
        self._loader, self._library = loader, library

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader  # no trace of this class stays
        module.__spec__.loader = self._loader  # type: ignore[union-attr]
        self._loader.exec_module(module)
        _register_with(self._library)

    def __getattr__(self, name: str) -> Any:  # callers of `find_spec` may ask the loader for more
        if name == '_loader':  # asked for by `copy`, before there is one
            raise AttributeError(name)
        return getattr(self._loader, name)


def install() -> None:
    """Register with the libraries that are imported already; wait for the others."""
    mmcv_ops.install()
    put_finder(_AfterImport(), first=True)
    for library in _PARTS:
        if sys.modules.get(library) is not None:  # None: made to look as if it were not installed
            _register_with(library)
