"""The module `mmcv._ext` in PyTorch and torchvision, for an mmcv that has no compiled operators (mmcv-lite).

mmcv's operators are Python around one compiled module, `mmcv._ext`. Where that is there and can be loaded, it is used;
else a finder offers `extension` in its place. Nothing is imported before something asks for `mmcv._ext`.
"""
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, PathFinder
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from ..installation import spec_of, with_mmcv_lite
from ..lazy import find_by_others, put_finder

NAME = 'mmcv._ext'

# mmcv-lite goes first: both are the package `mmcv`.
COMPILED_MMCV = ('`make env MMCV=compiled` in a checkout; elsewhere, with a C++ compiler and a torch that mmcv '
                 'compiles for, `pip uninstall -y mmcv-lite && pip install --no-build-isolation mmcv==2.1.0`')


class Source(NamedTuple):
    """Where mmcv's operators come from.

    Attributes:
        kind: 'compiled'; 'pytorch', this package's; 'none', no mmcv is installed.
        why: the reason, or where the operators are.
    """
    kind: str
    why: str


def source() -> Source:
    """Which operators mmcv uses, or would use once it is imported.

    Imports nothing: whether a compiled module can be loaded is known only once `mmcv._ext` has been imported.
    """
    module = sys.modules.get(NAME)
    if module is not None and not in_use():
        return Source('compiled', str(module.__file__))
    mmcv = spec_of('mmcv')
    if mmcv is None or mmcv.submodule_search_locations is None:
        return Source('none', 'mmcv is not installed')
    found = PathFinder.find_spec(NAME, mmcv.submodule_search_locations)
    if found is None or found.origin is None:
        return Source('pytorch', _unfit(mmcv.submodule_search_locations) or 'mmcv has no compiled operators')
    if not found.origin.endswith(tuple(EXTENSION_SUFFIXES)):
        return Source('pytorch', f'{found.origin} asks for them')
    return Source('pytorch', f"{found.origin} can't be loaded") if module else Source('compiled', found.origin)


def in_use() -> bool:
    """Whether `mmcv._ext` is imported and holds this package's operators."""
    operator = getattr(sys.modules.get(NAME), 'nms', None)
    return getattr(operator, '__module__', '').startswith(__name__)


def install() -> None:
    """Offer the operators to every later import of `mmcv._ext`."""
    put_finder(_Finder(), first=True)


def fill(module: ModuleType) -> None:
    """Put the operators into a module."""
    extension = import_module('.extension', __name__)
    vars(module).update({name: value for name, value in vars(extension).items()
                         if not name.startswith('__') or name == '__getattr__'})
    import_module('.tracing', __name__).name_nms_without_eval()


class _Finder(MetaPathFinder):
    """Finds the compiled `mmcv._ext` through the other finders, and gives it a loader that has an answer to failure."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != NAME:
            return None
        spec = find_by_others(self, fullname, path, target)
        if spec is None or spec.loader is None:
            return spec_from_loader(fullname, _Loader(None, _unfit(path or ())), origin=f'{__name__}.extension')
        spec.loader = _Loader(spec.loader)
        return spec


class _Loader(Loader):
    """Loads the compiled module, or fills one with this package's operators where there is none or it can't be loaded.

    Args:
        compiled: the compiled module's own loader.
        failure: why there is none, where that is worth a warning.
    """

    def __init__(self, compiled: Loader | None, failure: str = ''):
        self._compiled, self._failure = compiled, failure

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        try:
            return self._compiled.create_module(spec) if self._compiled else None
        except ImportError as error:
            self._compiled, self._failure = None, f"{spec.origin} can't be loaded ({error})"
            return None

    def exec_module(self, module: ModuleType) -> None:
        if self._compiled is not None:
            module.__loader__ = module.__spec__.loader = self._compiled  # type: ignore[union-attr]
            return self._compiled.exec_module(module)
        if self._failure:
            warnings.warn(f'{self._failure}: it was built for another torch, Python or CUDA. The operators of '
                          f'mmvision_mamba, in PyTorch, are used instead. To do without it: `{with_mmcv_lite()}`; to '
                          f'build it anew: {COMPILED_MMCV}', RuntimeWarning, stacklevel=2)
        fill(module)


def _unfit(folders: Sequence[str]) -> str:
    """In words, a compiled `mmcv._ext` that this Python doesn't even look for; '' where there is none."""
    found = [path for folder in folders for suffix in ('so', 'pyd') for path in Path(folder).glob(f'_ext.*.{suffix}')]
    return f'{found[0]} is not for this Python' if found else ''
