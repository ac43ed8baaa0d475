"""Linear layers, quicker on CPUs."""
import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .operators import exporting

SMALLEST = 20480  # below, PyTorch itself keeps convolutions away from oneDNN


class Linear(nn.Linear):
    """`nn.Linear`, whose float32 product on a CPU is left to oneDNN, as a 1 × 1 convolution.

    PyTorch gives a CPU's linear layers to MKL, its convolutions to oneDNN, which reaches 1.0 to 1.4 times the rate at
    a backbone's shapes (see docs/performance.md). Channels-last memory is what tokens lie in, so nothing is copied.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self._convolves(x):
            return super().forward(x)
        image = x.contiguous().view(1, 1, -1, self.in_features).permute(0, 3, 1, 2)
        y = F.conv2d(image, self.weight[:, :, None, None], self.bias)
        return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.out_features)

    def _convolves(self, x: Tensor) -> bool:
        # Compilers, exporters and quantised weights' own tensor types know linear layers, not this.
        if torch.compiler.is_compiling() or exporting() or type(x) is not Tensor \
                or type(self.weight) not in (nn.Parameter, Tensor):
            return False
        return (x.device.type == 'cpu' and x.dtype == self.weight.dtype == torch.float32 and x.numel() > SMALLEST
                and not torch.is_autocast_enabled('cpu') and torch.backends.mkldnn.is_available())
