"""Selective scan, one step at a time: slow, in any dtype, on any device; what every other backend is tested against."""
import torch
from torch import Tensor


def reference_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """h_t = exp(Δ_t A) h_{t-1} + Δ_t B_t u_t;  y_t = C_t · h_t  (arXiv 2312.00752, equation 2 and algorithm 2).

    Args:
        u, delta: ``(batch, length, channels)``; delta after bias, softplus and mask.
        A: ``(channels, state)``.
        B, C: ``(batch, length, state)``.

    Returns:
        y: ``(batch, length, channels)``.
    """
    batch, length, channels = u.shape
    h = u.new_zeros(batch, channels, A.shape[1])
    ys = []
    for t in range(length):
        dt = delta[:, t, :, None]
        h = torch.exp(dt * A) * h + dt * B[:, t, None, :] * u[:, t, :, None]
        ys.append((h * C[:, t, None, :]).sum(-1))
    return torch.stack(ys, 1) if ys else u.clone()
