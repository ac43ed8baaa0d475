"""What `mmcv._ext` holds, gathered from the files of this folder; every other name raises when it is called.

Most operators fill tensors that mmcv's Python has made, by `output[:] = …`: `torch.compile` of torch 2.11 leaves out
`output.copy_(…)` and other methods in the backward of a `torch.autograd.Function`, and the gradients would be zeros.
"""
from collections.abc import Callable
from typing import Any

from ..version import __version__
from .attention import (  # noqa: F401
    ms_deform_attn_backward,
    ms_deform_attn_forward,
    psamask_backward,
    psamask_forward,
)
from .boxes import nms, nms_match, softnms  # noqa: F401
from .deformable import (  # noqa: F401
    deform_conv_backward_input,
    deform_conv_backward_parameters,
    deform_conv_forward,
    modulated_deform_conv_backward,
    modulated_deform_conv_forward,
)
from .losses import (  # noqa: F401
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
    softmax_focal_loss_backward,
    softmax_focal_loss_forward,
)
from .masked import masked_col2im_forward, masked_im2col_forward  # noqa: F401
from .matching import bbox_overlaps, correlation_backward, correlation_forward  # noqa: F401
from .missing import missing
from .normalization import (  # noqa: F401
    sync_bn_backward_data,
    sync_bn_backward_param,
    sync_bn_forward_mean,
    sync_bn_forward_output,
    sync_bn_forward_var,
)
from .pooling import (  # noqa: F401
    border_align_backward,
    border_align_forward,
    deform_roi_pool_backward,
    deform_roi_pool_forward,
)
from .regions import roi_align_backward, roi_align_forward, roi_pool_backward, roi_pool_forward  # noqa: F401
from .upsampling import (  # noqa: F401
    carafe_backward,
    carafe_forward,
    carafe_naive_backward,
    carafe_naive_forward,
)


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
