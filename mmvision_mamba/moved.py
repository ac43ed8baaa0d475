"""Imports of modules under their former dotted paths, which configs and checkpoints of older runs hold."""
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from .lazy import put_finder

_PACKAGE = __package__
MOVED = {  # former module -> present one, relative to the package
    'backbones.ablations': 'backbones.mixers',
    'datasets.lvis_metric': 'evaluation.lvis_metric',
    'engine.bad_images': 'preflight.bad_images',
    'engine.checkpoint_fit_hook': 'engine.hooks.checkpoint_fit',
    'engine.divergence_hook': 'engine.hooks.divergence',
    'engine.history_hook': 'engine.hooks.history',
    'engine.preemption_hook': 'engine.hooks.preemption',
    'engine.safe_checkpoint_hook': 'engine.hooks.safe_checkpoint',
    'engine.tta': 'evaluation.tta',
}


class _Redirect(MetaPathFinder, Loader):
    """Finds and loads the modules of `MOVED`."""

    def find_spec(self, fullname: str, path: Sequence[str] | None = None,
                  target: ModuleType | None = None) -> ModuleSpec | None:
        old = fullname.removeprefix(f'{_PACKAGE}.')
        return ModuleSpec(fullname, self) if fullname != old and old in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        # The import system returns the entry in sys.modules after this: here the present module.
        new = MOVED[module.__name__.removeprefix(f'{_PACKAGE}.')]
        sys.modules[module.__name__] = import_module(f'.{new}', _PACKAGE)


def install() -> None:
    """Let Python import modules under their former names. All other finders are asked first."""
    put_finder(_Redirect(), first=False)
