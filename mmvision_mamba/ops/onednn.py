"""Products of matrices by oneDNN on CPUs, where PyTorch would leave them to MKL, and which machines gain by it.

MKL keeps its fastest kernels for Intel's processors. On AMD's, oneDNN's take 0.8 of their time where vectors of 512
bits go through the units in two halves (Zen 4), and half of it where they don't (Zen 5). So AMD's are given to oneDNN,
by their vendor and not by a measurement: a run that is resumed has to compute the same bits.
"""
import functools
import math
import os
import platform
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import flop_registry, shape_wrapper

from ..errors import ConfigError
from .operators import exporting, plain

VARIABLE = 'MMVISION_MAMBA_CPU_PRODUCTS'  # in the environment: 'onednn' or 'torch' instead of what the vendor suggests


def linear_operator() -> Any:
    """oneDNN's linear operator, which PyTorch's compiler uses. None: it is missing, or takes other arguments.

    torch 2.11 has no seam here: no public function calls it on plain tensors.
    """
    try:
        operator = torch.ops.mkldnn._linear_pointwise
        operator(torch.ones(2, 2), torch.ones(2, 2), None, 'none', [], '')
    except (AttributeError, RuntimeError):
        return None
    if operator not in flop_registry:  # else torch's counter would miss this operator
        def flops(x: Sequence[int], weight: Sequence[int], *args: Any, out_shape: Any = None) -> int:
            return 2 * math.prod(x) * weight[0]
        flop_registry[operator] = shape_wrapper(flops)  # torch 2.4's `register_flop_formula` counts aten's alone
    return operator


_LINEAR = linear_operator()


@functools.cache
def processor() -> tuple[str, int]:
    """The processor's vendor, 'AMD' or '' for any other, and family, 0 where it isn't known."""
    try:
        text = Path('/proc/cpuinfo').read_text(errors='replace').partition('\n\n')[0]
    except OSError:
        text = platform.processor()  # of Windows: 'AMD64 Family 26 Model 68 Stepping 0, AuthenticAMD'
    family = re.search(r'family\s*:?\s*(\d+)', text, re.IGNORECASE)
    return 'AMD' if 'AuthenticAMD' in text else '', int(family[1]) if family else 0


# torch.compile takes the answer as it is, instead of tracing how it is found.
@torch.compiler.assume_constant_result
@functools.cache
def chosen() -> bool:
    """Whether float32 products on this CPU are left to oneDNN.

    Raises:
        ConfigError: the environment variable has another value than 'onednn' and 'torch'.
    """
    value = os.environ.get(VARIABLE, '')
    if value not in ('', 'onednn', 'torch'):
        raise ConfigError(f"the environment variable {VARIABLE} is {value!r}: expected 'onednn' or 'torch' (MKL, or "
                          'what else PyTorch was built with)')
    return _LINEAR is not None and (value == 'onednn' or (not value and processor()[0] == 'AMD'))


@torch.compiler.assume_constant_result
@functools.cache
def chosen_for_attention() -> bool:
    """Whether the products of attention over long sequences are left to oneDNN too.

    PyTorch's own attention leaves no step of a block to memory. Products at twice MKL's rate, which AMD's processors
    have from family 26 (Zen 5) on, make up for that: 0.65 to 0.75 of its time from 1,024 tokens on. With those of Zen 4
    it would take 1.1 to 1.4.
    """
    return chosen() and (os.environ.get(VARIABLE) == 'onednn' or processor()[1] >= 26)


def takes(*tensors: Tensor) -> bool:
    """Whether products of these tensors are to be left to oneDNN: plain float32 ones on a CPU, outside of graphs.

    Compilers, exporters and torch.func's transforms know linear layers, not this; so do the tensor types of quantised
    weights.
    """
    if (torch.compiler.is_compiling() or exporting() or plain() or torch.is_autocast_enabled('cpu')
            or not chosen()):
        return False
    return all(type(tensor) in (Tensor, torch.nn.Parameter) and tensor.device.type == 'cpu'
               and tensor.dtype == torch.float32 and tensor.numel() > 0 for tensor in tensors) \
        and not torch._C._are_functorch_transforms_active()


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weightᵀ + bias, without a gradient: ``(..., in)``, ``(out, in)``, ``(out,)`` -> ``(..., out)``."""
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()
    return _LINEAR(x.contiguous(), weight, bias, 'none', [], '')


class LinearFunction(torch.autograd.Function):
    """`product`, of two dimensions, with its gradients, which are products too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        for_x, for_weight, for_bias = ctx.needs_input_grad
        return (LinearFunction.apply(dy, weight.t(), None) if for_x else None,
                LinearFunction.apply(dy.t(), x.t(), None) if for_weight else None,
                dy.sum(0) if for_bias else None)
