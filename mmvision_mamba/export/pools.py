"""Adaptive pooling in plain operators, which every format has for every size."""
import torch
from torch import Tensor, nn

from .graph_modules import replace_modules


class MatrixPool(nn.Module):
    """nn.AdaptiveAvgPool2d as two matrix products, with the same bins for every size."""

    def __init__(self, output_size):
        super().__init__()
        self.output_size = output_size if isinstance(output_size, tuple) else (output_size, output_size)

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = (None if n is None else bins(n, side, x) for n, side in zip(self.output_size, x.shape[2:]))
        x = x if columns is None else x @ columns.t()
        return x if rows is None else rows @ x


def bins(count: int, side: int, like: Tensor) -> Tensor:
    """``(count, side)``: row i is the mean over positions floor(i · side / count) to ceil((i + 1) · side / count)."""
    i, position = torch.arange(count, device=like.device)[:, None], torch.arange(side, device=like.device)
    inside = (position >= i * side // count) & (position < ((i + 1) * side + count - 1) // count)
    inside = inside.to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


def replace_adaptive_pools(model: nn.Module) -> None:
    """Replace each nn.AdaptiveAvgPool2d of `model`, in place, by a `MatrixPool`."""
    replace_modules(model, {nn.AdaptiveAvgPool2d: lambda pool: MatrixPool(pool.output_size)})
