"""Lazy imports: names of a package that are imported when they are first used (PEP 562); finders of modules."""
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from .installation import explaining


def attach(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make `__getattr__` and `__dir__` for the `__init__` of `package`, by which its modules are found too.

    Args:
        package: its `__name__`.
        modules: name -> the module that defines it, relative to the package.
    """
    def __getattr__(name: str) -> Any:
        if name in modules:
            with explaining(name):
                return getattr(import_module(f'.{modules[name]}', package), name)
        if not name.startswith('_') and name.isidentifier() and find_spec(f'{package}.{name}') is not None:
            return import_module(f'.{name}', package)  # its modules, as if all were imported
        raise AttributeError(f'module {package!r} has no attribute {name!r}')

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *modules})
    return __getattr__, __dir__


def find_by_others(finder: MetaPathFinder, fullname: str, path: Sequence[str] | None,
                   target: ModuleType | None) -> ModuleSpec | None:
    """What the finders of `sys.meta_path` other than `finder` find."""
    others = (other.find_spec for other in sys.meta_path if other is not finder and hasattr(other, 'find_spec'))
    return next(filter(None, (find(fullname, path, target) for find in others)), None)


def put_finder(finder: MetaPathFinder, first: bool) -> None:
    """Add `finder` at either end of `sys.meta_path`, in place of the one that an earlier import of its module added."""
    def name(of: object) -> tuple[str, str]:
        return type(of).__module__, type(of).__qualname__
    sys.meta_path[:] = [other for other in sys.meta_path if name(other) != name(finder)]
    sys.meta_path.insert(0 if first else len(sys.meta_path), finder)


class ExplainingFinder(MetaPathFinder):
    """Finds the modules of a package through the other finders, and gives them a loader whose failures are explained.

    So each module that needs an extra names it, whichever of them is imported first.
    """

    def __init__(self, package: str):
        self._prefix = f'{package}.'

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        if not fullname.startswith(self._prefix):
            return None
        spec = find_by_others(self, fullname, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = _ExplainingLoader(spec.loader.name, spec.loader.path)
        return spec


class _ExplainingLoader(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        with explaining(module.__name__):
            super().exec_module(module)
