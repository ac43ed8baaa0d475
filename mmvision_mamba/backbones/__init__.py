"""MambaVision. Needs torch and timm, and mmengine for registration alone."""
from .classifier import MambaVisionClassifier
from .family import FAMILY
from .mambavision import MambaVision
from .mm_mamba_vision import MM_mamba_vision
from .timm_models import create_model

__all__ = ['FAMILY', 'MM_mamba_vision', 'MambaVision', 'MambaVisionClassifier', 'create_model']
