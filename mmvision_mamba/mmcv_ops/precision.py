"""The type that an operator computes in."""
import torch
from torch import Tensor


def widened(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors, float16 and bfloat16 as float32: few kernels know those types on every device, and sums need digits.

    Autocast, which casts matrix products and convolutions down, leaves what these operators are made of in float32.
    """
    return tuple(tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor for tensor in tensors)
