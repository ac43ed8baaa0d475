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


def without_autocast(tensor: Tensor) -> contextlib.AbstractContextManager:
    """Context in which the tensor's device multiplies matrices in their own type."""
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if device in AUTOCASTING else contextlib.nullcontext()
