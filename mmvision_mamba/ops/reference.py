"""Selective scan, one step at a time: slow, in any dtype, on any device. Every other backend is tested against it."""
import torch
import torch.nn.functional as F
from torch import Tensor


def state_dtype(u: Tensor) -> torch.dtype:
    """The dtype that a scan of `u` computes in: float64 if u is float64, else float32."""
    return torch.float64 if u.dtype == torch.float64 else torch.float32


def step_sizes(delta: Tensor, delta_bias: Tensor | None, delta_softplus: bool, mask: Tensor | None,
               dtype: torch.dtype) -> Tensor:
    """Δ in `dtype`: softplus(delta + delta_bias), exactly 0 where `mask`, ``(batch, length)``, is False."""
    dt = delta.to(dtype)
    if delta_bias is not None:
        dt = dt + delta_bias.to(dtype)
    if delta_softplus:
        dt = _softplus(dt)
    return dt if mask is None else dt.masked_fill(~mask.unsqueeze(-1), 0)


def _softplus(x: Tensor) -> Tensor:
    """F.softplus; in an ONNX graph of operators that runtimes compute several numbers at a time, which Softplus is not.

    It is max(x, 0) + log(1 + e), e = exp(-|x|), with the rounding of 1 + e made good: small ones keep their digits.
    """
    if not torch.onnx.is_in_onnx_export():
        return F.softplus(x)
    e = torch.exp(-x.abs())
    u = 1 + e
    return torch.relu(x) + (torch.log(u) - ((u - 1) - e) / u)


def reference_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None,
                   delta_bias: Tensor | None = None, delta_softplus: bool = False,
                   mask: Tensor | None = None) -> Tensor:
    """`selective_scan` as the paper writes it: arXiv 2312.00752, equation 2 and algorithm 2."""
    batch, length, channels = u.shape
    dtype = state_dtype(u)
    x, A, B, C = (v.to(dtype) for v in (u, A, B, C))
    dt = step_sizes(delta, delta_bias, delta_softplus, mask, dtype)
    h = x.new_zeros(batch, channels, A.shape[1])
    ys = []
    for t in range(length):
        step = dt[:, t, :, None]
        h = torch.exp(step * A) * h + step * B[:, t, None, :] * x[:, t, :, None]
        ys.append((h * C[:, t, None, :]).sum(-1))
    y = torch.stack(ys, 1) if ys else x
    if D is not None:
        y = y + x * D.to(dtype)
    return y.to(u.dtype)
