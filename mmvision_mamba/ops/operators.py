"""Helpers of the custom operators: autocast, export, devices, gradients."""
import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from .reference import state_dtype


def outside_autocast(function: Callable) -> Callable:
    """Decorator of a custom operator that turns autocast off inside it.

    Autocast would cast down the operators within; those of the backward too, when that runs inside the context.
    """
    @functools.wraps(function)
    def wrapped(u: Tensor, *args: Tensor) -> Any:
        with torch.autocast(u.device.type, enabled=False):
            return function(u, *args)
    return wrapped


def exporting() -> bool:
    """Whether a graph is being exported, which custom operators would not survive."""
    if torch.compiler.is_dynamo_compiling():  # where is_exporting is true of torch.compile as well
        return False
    # torch 2.4 to 2.6 have no is_exporting; outside of dynamo, is_compiling says the same there.
    is_exporting = getattr(torch.compiler, 'is_exporting', torch.compiler.is_compiling)
    return bool(is_exporting() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export())


_plain = contextvars.ContextVar('plain', default=False)


@contextlib.contextmanager
def plain_operators() -> Iterator[None]:
    """Context in which layers call PyTorch's own operators alone: its counter of FLOPs knows what each is for."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


def plain() -> bool:
    """Whether `plain_operators` holds."""
    return _plain.get()


_dynamic_sizes = contextvars.ContextVar('dynamic_sizes', default=False)


@contextlib.contextmanager
def dynamic_sizes() -> Iterator[None]:
    """Context in which a trace becomes a graph of any image size; elsewhere sizes become constants of the trace."""
    token = _dynamic_sizes.set(True)
    try:
        yield
    finally:
        _dynamic_sizes.reset(token)


def dynamic() -> bool:
    """Whether `dynamic_sizes` holds."""
    return _dynamic_sizes.get()


def graph_size(size: int | Tensor) -> int | Tensor:
    """One size of a shape, for arithmetic: an int, or a tensor or symbol where the graph takes any size.

    torch.jit's tracer passes sizes as tensors, torch.export as symbols.
    """
    return int(size) if isinstance(size, Tensor) and not dynamic() else size


def on_device(x: Tensor) -> contextlib.AbstractContextManager:
    """Context that makes x's device the current one, on which Triton launches kernels."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def gradients_wanted(args: Iterable[Any]) -> bool:
    """Whether a call with these arguments is to be differentiated."""
    return torch.is_grad_enabled() and any(isinstance(value, Tensor) and value.requires_grad for value in args)


def register_gradient(scan_op, backward_op) -> None:
    """Register `backward_op` as the gradient of `scan_op`, and the shapes of what it returns.

    Args:
        scan_op: takes `selective_scan`'s arguments without the backend; returns y and the states that the backward
            starts from.
        backward_op: takes y's gradient, those arguments and those states; returns the gradients of u, delta, A, B, C, D
            and delta_bias, all of them tensors. The last two are dropped where D and the bias are None.
    """
    @backward_op.register_fake
    def _(dy, u, delta, A, B, C, *_):
        sums = (u.new_empty(u.shape[2], dtype=state_dtype(u)) for _ in range(2))
        return *(v.new_empty(v.shape) for v in (u, delta, A, B, C)), *sums

    def save(ctx, inputs, output):
        *tensors, ctx.delta_softplus, mask = inputs
        ctx.save_for_backward(*tensors, mask, output[1])

    def backward(ctx, dy, _):
        *inputs, mask, starts = ctx.saved_tensors
        *grads, dD, dbias = backward_op(dy, *inputs, ctx.delta_softplus, mask, starts)
        D, bias = inputs[5:]
        return *grads, None if D is None else dD.to(D.dtype), None if bias is None else dbias.to(bias.dtype), None, None

    scan_op.register_autograd(backward, setup_context=save)
