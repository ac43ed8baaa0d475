"""MambaVision. Needs torch and timm, and mmengine for registration alone."""
from .family import FAMILY
from .mambavision import MambaVision
from .mm_mamba_vision import MM_mamba_vision

__all__ = ['FAMILY', 'MM_mamba_vision', 'MambaVision']
