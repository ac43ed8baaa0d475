"""Inference of detectors and segmentors on any image, video or camera. Needs mmengine, mmcv and mmdet or mmseg."""
from typing import TYPE_CHECKING, Any

from ..installation import openmmlab_problem
from ..lazy import attach

if TYPE_CHECKING:
    from .inferencer import Inferencer, Prediction, TiledPrediction

# Values of options stand here, so that the commands' `--help` imports nothing heavy.
BATCH_FORMATS = {'parquet': '.parquet', 'coco': '.json'}  # formats of batch inference, and the suffix of a part
DTYPES = {'float32': 'float32', 'bf16': 'bfloat16', 'fp16': 'float16'}  # what a model computes in, and PyTorch's name

__all__ = ['Inferencer', 'Prediction', 'TiledPrediction']
_import_name, __dir__ = attach(__name__, dict.fromkeys(__all__, 'inferencer'))


def __getattr__(name: str) -> Any:
    if name in __all__ and (problem := openmmlab_problem(name)) is not None:
        raise problem
    return _import_name(name)
