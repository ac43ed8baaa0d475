"""The module `mmcv._ext` in PyTorch and torchvision, for an mmcv that has no compiled operators (mmcv-lite).

mmcv's operators are Python around one compiled module, `mmcv._ext`. Where that is missing, a finder offers `extension`
in its place; where it is there, it is used. Nothing is imported before something asks for `mmcv._ext`.
"""
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType

from ..lazy import put_finder

NAME = 'mmcv._ext'


class _Finder(MetaPathFinder):
    """Offers `extension` as `mmcv._ext`; asked last, so that a compiled module is found before."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        return spec_from_loader(fullname, _Loader()) if fullname == NAME else None


class _Loader(Loader):
    def exec_module(self, module: ModuleType) -> None:
        extension = import_module('.extension', __name__)
        vars(module).update({name: value for name, value in vars(extension).items()
                             if not name.startswith('__') or name == '__getattr__'})


def install() -> None:
    """Offer the operators to every later import of `mmcv._ext`."""
    put_finder(_Finder(), first=False)


def in_use() -> bool:
    """Whether `mmcv._ext` is imported and is this package's."""
    return isinstance(getattr(sys.modules.get(NAME), '__loader__', None), _Loader)
