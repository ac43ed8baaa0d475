"""What `mmcv._ext` holds, gathered from the files of this folder; every other name raises when it is called."""
from collections.abc import Callable
from typing import Any

from ..version import __version__
from .boxes import nms, nms_match, softnms  # noqa: F401
from .missing import missing
from .regions import roi_align_backward, roi_align_forward, roi_pool_backward, roi_pool_forward  # noqa: F401


def get_compiler_version() -> str:
    """What reports of the environment print as mmcv's compiler: who made these operators."""
    return f'none: mmvision_mamba {__version__}, in PyTorch'


def get_compiling_cuda_version() -> str:
    """What reports of the environment print as mmcv's CUDA: compiled mmcv's words for none."""
    return 'not available'


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith('_'):  # what tools ask every module for
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return missing(name)
