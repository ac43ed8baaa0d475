"""LayerNorm for windows padded with zeros, whose gradient stays bounded where tokens hardly vary.

At the start of a training from scratch all biases are zero, so padding stays exactly zero through the mixers, and close
to it while the first updates are small. There LayerNorm multiplies by 1 / sqrt(eps) = 316, and norm after norm by a
power of that: the biases that shape the padding get a gradient of 1e12, the true slope, which holds for a 1e-10 step.
Weights that were trained, and layer scale, leave nothing to bound.
"""
from typing import Any

import torch
from torch import Tensor, nn


class PaddingNorm(nn.LayerNorm):
    """`nn.LayerNorm` whose gradient, in training, is smaller for tokens of a variance below eps.

    The gradient with respect to a token of variance v is scaled by min(1, v / eps): zero for constant tokens, exact
    from a standard deviation of 0.003 up. Outputs, and the gradients of weight and bias, are LayerNorm's.
    """

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(_BoundedGradient.apply(x, self.eps) if self.training else x)


class _BoundedGradient(torch.autograd.Function):
    """The identity, with the gradient of `PaddingNorm`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> Tensor:
        ctx.save_for_backward(x)  # LayerNorm keeps it anyway
        ctx.eps = eps
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, = ctx.saved_tensors
        variance = x.float().var(-1, correction=0, keepdim=True)
        return gradient * (variance / ctx.eps).clamp(max=1).to(gradient.dtype), None
