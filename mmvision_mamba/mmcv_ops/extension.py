"""What `mmcv._ext` holds, gathered from the files of this folder; every other name raises when it is called."""
from collections.abc import Callable
from typing import Any

from .boxes import nms  # noqa: F401
from .regions import roi_align_backward, roi_align_forward, roi_pool_backward, roi_pool_forward  # noqa: F401


def get_compiler_version() -> str:
    """What mmcv's and mmengine's reports of the environment print."""
    return 'n/a'


def get_compiling_cuda_version() -> str:
    """What mmcv's and mmengine's reports of the environment print."""
    return 'not available'


def __getattr__(name: str) -> Callable[..., Any]:
    if name.startswith('__'):
        raise AttributeError(name)

    def missing(*args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError(f'mmcv operator {name} has no form in PyTorch here')
    return missing
