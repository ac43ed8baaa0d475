"""Inference of detectors and segmentors on any image, video or camera. Needs mmengine, mmcv and mmdet or mmseg."""
from .. import engine  # noqa: F401  names the extra where OpenMMLab is missing
from .inferencer import Inferencer, Prediction

__all__ = ['Inferencer', 'Prediction']
