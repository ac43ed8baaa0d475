"""The scan of the package mamba_ssm, behind `selective_scan`'s interface: CUDA only, and not installed with this one.

It scans ``(batch, channels, length)``, wants delta, B and C in u's dtype and the parameters in float32, and knows no
mask. Its autograd function calls a compiled extension, which can't be traced: under torch.compile it is wrapped in an
operator of its own, whose backward repeats the forward, since what the function saved can't leave the operator. Eager
calls go straight to it and repeat nothing.
"""
from collections.abc import Callable
from typing import List  # noqa: UP035  torch infers an operator's schema from `list[Tensor]` only since 2.7

import torch
from torch import Tensor

from .chunked import plain_chunked_scan
from .operators import exporting, outside_autocast
from .reference import step_sizes


def package_scan() -> Callable[..., Tensor]:
    """The package's function; raises ImportError where it isn't installed."""
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    return selective_scan_fn


def mamba_ssm_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                   delta_bias: Tensor | None, delta_softplus: bool, mask: Tensor | None) -> Tensor:
    """`selective_scan` by mamba_ssm; while a graph is being exported, the chunked scan's plain operators.

    With a mask the step sizes are computed here and rounded to u's dtype, since their softplus is never exactly 0.
    """
    if exporting():
        return plain_chunked_scan(u, delta, A, B, C, D, delta_bias, delta_softplus, mask)
    if mask is not None:
        delta = step_sizes(delta, delta_bias, delta_softplus, mask, torch.float32)
        delta_bias, delta_softplus = None, False
    delta, B, C = (v.to(u.dtype) for v in (delta, B, C))
    D, delta_bias = (None if v is None else v.float() for v in (D, delta_bias))
    scan = mamba_ssm_scan_op if torch.compiler.is_compiling() else _scan
    return scan(u, delta, A.float(), B, C, D, delta_bias, delta_softplus)


def _scan(u, delta, A, B, C, D, delta_bias, delta_softplus):
    """The package's scan on tensors whose channels lie last."""
    u, delta, B, C = (v.transpose(1, 2) for v in (u, delta, B, C))
    return package_scan()(u, delta, A, B, C, D=D, delta_bias=delta_bias, delta_softplus=delta_softplus).transpose(1, 2)


@torch.library.custom_op('mmvision_mamba::mamba_ssm_scan', mutates_args=())
@outside_autocast
def mamba_ssm_scan_op(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                      delta_bias: Tensor | None, delta_softplus: bool) -> Tensor:
    """The package's scan as one operator; arguments in the dtypes it wants."""
    return _scan(u, delta, A, B, C, D, delta_bias, delta_softplus).clone(memory_format=torch.contiguous_format)


@torch.library.custom_op('mmvision_mamba::mamba_ssm_scan_backward', mutates_args=())
@outside_autocast
def mamba_ssm_scan_backward_op(dy: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                               delta_bias: Tensor | None, delta_softplus: bool) -> List[Tensor]:  # noqa: UP006
    """The gradients of the tensors that aren't None, in their order."""
    # Inside a custom operator autograd records only the package's autograd function: its arguments must be the leaves.
    u, delta, B, C = (v.transpose(1, 2) for v in (u, delta, B, C))
    u, delta, A, B, C, D, delta_bias = (None if v is None else v.detach().requires_grad_()  # type: ignore[assignment]
                                        for v in (u, delta, A, B, C, D, delta_bias))
    with torch.enable_grad():
        y = package_scan()(u, delta, A, B, C, D=D, delta_bias=delta_bias, delta_softplus=delta_softplus)
    leaves = [v for v in (u, delta, A, B, C, D, delta_bias) if v is not None]
    grads = torch.autograd.grad(y, leaves, dy.transpose(1, 2))
    return [(g.transpose(1, 2) if g.dim() == 3 else g).clone(memory_format=torch.contiguous_format) for g in grads]


@mamba_ssm_scan_op.register_fake
def _(u, delta, A, B, C, D, delta_bias, delta_softplus):
    return u.new_empty(u.shape)


@mamba_ssm_scan_backward_op.register_fake
def _(dy, u, delta, A, B, C, D, delta_bias, delta_softplus):
    return [v.new_empty(v.shape) for v in (u, delta, A, B, C, D, delta_bias) if v is not None]


def _save(ctx, inputs, output):
    *tensors, ctx.delta_softplus = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, dy):
    tensors = ctx.saved_tensors
    grads = iter(mamba_ssm_scan_backward_op(dy, *tensors, ctx.delta_softplus))
    return *(None if v is None else next(grads) for v in tensors), None


mamba_ssm_scan_op.register_autograd(_backward, setup_context=_save)
