"""Scripts in tools/dev, which are in no package, as modules."""
import importlib.util
import sys

from . import ROOT


def load_script(name: str):
    """tools/dev/NAME.py."""
    spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / 'dev' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module
