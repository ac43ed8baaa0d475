"""The type that an operator computes in."""
import contextlib

import torch
from torch import Tensor

# Without Apple's GPUs before torch 2.5. Asked for here because a trace can't ask.
AUTOCASTING = tuple(device for device in ('cpu', 'cuda', 'mps', 'xpu') if torch.amp.is_autocast_available(device))


def widened(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, float16 and bfloat16 as float32: few kernels know those types on every device, and sums need digits.

    Sums and samples stay in float32 under autocast; only matrix products, in torchvision's kernels too, want
    `without_autocast`.
    """
    return tuple(tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor for tensor in tensors)


def computed_in(tensor: Tensor, float16_on_gpus: bool = False) -> torch.dtype:
    """The type for torchvision's kernels of boxes and regions: float64 stays, all else is float32.

    Args:
        tensor: what is computed with.
        float16_on_gpus: whether the kernels for GPUs take float16, which then stays there. Default: False.
    """
    if tensor.dtype == torch.float64:
        return torch.float64
    if float16_on_gpus and tensor.dtype == torch.float16 and tensor.device.type != 'cpu':
        return torch.float16
    return torch.float32


def without_autocast(tensor: Tensor) -> contextlib.AbstractContextManager:
    """Context in which the tensor's device multiplies matrices in their own type."""
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if device in AUTOCASTING else contextlib.nullcontext()
