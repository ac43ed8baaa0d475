"""MambaVision. Importing this package registers its parts with the OpenMMLab libraries found."""
from importlib.util import find_spec

from .backbones import MambaVision, MM_mamba_vision, create_model
from .version import __version__

if find_spec('mmengine') is not None and find_spec('mmcv') is not None:
    from . import classification, engine  # noqa: F401
    from .datasets import loading  # noqa: F401


def __getattr__(name):
    if name == 'Inferencer':  # imports mmdet or mmseg: not before it is asked for
        from .inference import Inferencer
        return Inferencer
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


__all__ = ['MM_mamba_vision', 'MambaVision', '__version__', 'create_model']
