"""Inference of detectors and segmentors on any image, video or camera. Needs mmengine, mmcv and mmdet or mmseg."""
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..errors import MissingExtraError
from ..lazy import attach

if TYPE_CHECKING:
    from .inferencer import Inferencer, Prediction

# Formats of batch inference, and the suffix of a part. Here, so that the command's `--help` imports nothing heavy.
BATCH_FORMATS = {'parquet': '.parquet', 'coco': '.json'}

__all__ = ['Inferencer', 'Prediction']
_import_name, __dir__ = attach(__name__, dict(Inferencer='inferencer', Prediction='inferencer'))


def __getattr__(name: str) -> Any:
    if name in __all__ and not (find_spec('mmengine') and find_spec('mmcv')):
        raise MissingExtraError(name, 'openmmlab')
    return _import_name(name)
