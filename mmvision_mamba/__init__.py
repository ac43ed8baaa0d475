"""MambaVision for dense prediction: backbone, classifiers, inference.

Importing the package imports nothing heavy. Its parts register themselves with mmengine, mmcv, mmdet and timm: at once
with those that are imported already, with the others right after their import; see `registration`.
"""
from typing import TYPE_CHECKING

from . import moved, registration
from .lazy import ExplainingFinder, attach, put_finder
from .registration import register
from .version import __version__

if TYPE_CHECKING:
    from .backbones import MambaVision, MM_mamba_vision, create_model
    from .inference import Inferencer as Inferencer  # not in __all__: it needs OpenMMLab, which `import *` must not
    from .notebook import Model as Model

__all__ = ['MM_mamba_vision', 'MambaVision', '__version__', 'create_model', 'register']
__getattr__, __dir__ = attach(__name__, dict(
    Inferencer='inference', MM_mamba_vision='backbones', MambaVision='backbones', Model='notebook',
    create_model='backbones'))

put_finder(ExplainingFinder(__name__), first=True)
moved.install()
registration.install()
