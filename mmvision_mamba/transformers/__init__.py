"""MambaVision for Hugging Face's transformers, whose Auto classes know it once this package is imported.

Published repositories, `nvidia/MambaVision-*`, load without running code from them. Needs the extra `transformers`.
"""
from .auto import register
from .configuration import MambaVisionConfig
from .image_processing import MambaVisionImageProcessor
from .modeling import MambaVisionBackbone, MambaVisionForImageClassification, MambaVisionModel

__all__ = ['MambaVisionBackbone', 'MambaVisionConfig', 'MambaVisionForImageClassification',
           'MambaVisionImageProcessor', 'MambaVisionModel']

register()
