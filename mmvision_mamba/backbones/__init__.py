"""MambaVision. Needs torch and timm, and mmengine only where a config names its initialisers."""
from typing import TYPE_CHECKING

from ..lazy import attach

if TYPE_CHECKING:
    from .classifier import MambaVisionClassifier
    from .family import FAMILY
    from .mambavision import MambaVision
    from .mm_mamba_vision import MM_mamba_vision
    from .timm_models import create_model

__all__ = ['FAMILY', 'MM_mamba_vision', 'MambaVision', 'MambaVisionClassifier', 'create_model']
__getattr__, __dir__ = attach(__name__, dict(
    FAMILY='family', MM_mamba_vision='mm_mamba_vision', MambaVision='mambavision', MambaVisionClassifier='classifier',
    create_model='timm_models'))
