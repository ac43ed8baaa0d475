"""Lazy imports: names of a package that are imported when they are first used (PEP 562)."""
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def attach(package: str, modules: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Make `__getattr__` and `__dir__` for the `__init__` of `package`.

    Args:
        package: its `__name__`.
        modules: name -> the module that defines it, relative to the package.
    """
    def __getattr__(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f'module {package!r} has no attribute {name!r}')
        return getattr(import_module(f'.{modules[name]}', package), name)

    def __dir__() -> list[str]:
        return sorted(modules)
    return __getattr__, __dir__
