"""A linear layer that is faster on CPUs."""
import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn as nn
from torch import Tensor
from torch.utils.flop_counter import flop_registry, shape_wrapper

from .operators import exporting, plain


def onednn_linear() -> Any:
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


_LINEAR = onednn_linear()


class Linear(nn.Linear):
    """`nn.Linear`, whose float32 product is left to oneDNN for inference on a CPU.

    PyTorch gives it to MKL, which reaches less of the rate of AMD's CPUs: a whole backbone takes 4 to 8% longer.
    """

    def forward(self, x: Tensor) -> Tensor:
        if self._suits_onednn(x):
            return _LINEAR(x, self.weight, self.bias, 'none', [], '')
        return super().forward(x)

    def _suits_onednn(self, x: Tensor) -> bool:
        # Compilers, exporters and quantised weights' own tensor types know linear layers, not this.
        if _LINEAR is None or torch.is_grad_enabled() or torch.compiler.is_compiling() or exporting() \
                or plain() or type(x) is not Tensor or type(self.weight) not in (nn.Parameter, Tensor):
            return False
        return (x.device.type == 'cpu' and x.dtype == self.weight.dtype == torch.float32 and x.numel() > 0
                and x.is_contiguous() and self.weight.is_contiguous() and not torch.is_autocast_enabled('cpu'))
