"""What the custom operators share."""
import contextlib
import contextvars
import functools

import torch
from torch import Tensor


def outside_autocast(function):
    """A custom operator's own operators would be cast down; in the backward too, when it runs inside the context."""
    @functools.wraps(function)
    def wrapped(u: Tensor, *args: Tensor):
        with torch.autocast(u.device.type, enabled=False):
            return function(u, *args)
    return wrapped


def exporting() -> bool:
    """Whether a graph is being exported, which custom operators would not survive."""
    if torch.compiler.is_dynamo_compiling():  # where is_exporting is true of torch.compile as well
        return False
    is_exporting = getattr(torch.compiler, 'is_exporting', None)  # torch 2.7 and later
    return bool((is_exporting and is_exporting()) or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export())


_dynamic_sizes = contextvars.ContextVar('dynamic_sizes', default=False)


@contextlib.contextmanager
def dynamic_sizes():
    """What is traced in here is a graph of any image size; elsewhere sizes become constants of a trace."""
    token = _dynamic_sizes.set(True)
    try:
        yield
    finally:
        _dynamic_sizes.reset(token)


def graph_size(size: int | Tensor) -> int | Tensor:
    """`size`, one number of a shape, for arithmetic. A tracer has them as tensors, torch.export as symbols."""
    return int(size) if isinstance(size, Tensor) and not _dynamic_sizes.get() else size


def on_device(x: Tensor):
    """Triton launches on the current device: make it x's."""
    return torch.cuda.device(x.device) if x.is_cuda else contextlib.nullcontext()


def register_gradient(scan_op, backward_op) -> None:
    """Make `backward_op` the gradient of `scan_op`.

    Args:
        scan_op: takes `selective_scan`'s arguments without the backend; returns y and what the backward starts from.
        backward_op: takes y's gradient, those arguments, and what the backward starts from; returns the gradients of u,
            delta, A, B, C, D and delta_bias, tensors all: the last two are dropped where D and the bias are None.
    """
    def save(ctx, inputs, output):
        *tensors, ctx.delta_softplus, mask = inputs
        ctx.save_for_backward(*tensors, mask, output[1])

    def backward(ctx, dy, _):
        *inputs, mask, starts = ctx.saved_tensors
        *grads, dD, dbias = backward_op(dy, *inputs, ctx.delta_softplus, mask, starts)
        D, bias = inputs[5:]
        return *grads, None if D is None else dD.to(D.dtype), None if bias is None else dbias.to(bias.dtype), None, None

    scan_op.register_autograd(backward, setup_context=save)
