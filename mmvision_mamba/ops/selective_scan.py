"""The selective scan of Mamba (arXiv 2312.00752), behind one function for every backend."""

import torch
from torch import Tensor

from ..errors import ConfigError
from .chunked import chunked_scan
from .reference import reference_scan

# Each takes selective_scan's own arguments, checked, in selective_scan's order.
_SCANS = {'reference': reference_scan, 'chunked': chunked_scan}
BACKENDS = ('auto', *_SCANS)


def check_backend(backend: str) -> str:
    """Returns `backend`; raises ConfigError naming the valid ones."""
    if backend not in BACKENDS:
        raise ConfigError(f'unknown scan backend {backend!r}; valid ones: {", ".join(map(repr, BACKENDS))}')
    return backend


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None = None,
                   delta_bias: Tensor | None = None, delta_softplus: bool = False, mask: Tensor | None = None,
                   backend: str = 'auto') -> Tensor:
    """Selective scan over sequences whose channels lie last, as linear layers produce them.

    Δ = softplus(delta + delta_bias);  h_t = exp(Δ_t A) h_{t-1} + Δ_t B_t u_t;  y_t = C_t · h_t + D u_t.
    State, softplus and every sum are float32 whatever the inputs' dtype (float64 where u is float64), under autocast
    too.

    Args:
        u: input, ``(batch, length, channels)``.
        delta: step sizes, ``(batch, length, channels)``.
        A: ``(channels, state)``, negative for a state that decays.
        B, C: ``(batch, length, state)``.
        D: skip connection, ``(channels,)``. None: no skip.
        delta_bias: ``(channels,)``, added to delta before the softplus. None: no bias.
        delta_softplus: whether delta goes through a softplus. Default: False.
        mask: bool, ``(batch, length)``, True at real tokens. At the others Δ is exactly 0: the state passes through
            unchanged, and they get no gradient but D's. None: all are real.
        backend: 'reference' (step by step), 'chunked' (any device, own backward, exportable) or 'auto', the fastest
            that can run. Default: 'auto'.

    Returns:
        y: ``(batch, length, channels)``, in u's dtype.

    Raises:
        ValueError: an unknown backend, or a shape, dtype or device that doesn't fit u's; names the argument.
    """
    check_backend(backend)
    _check(u, delta, A, B, C, D, delta_bias, mask)
    scan = _SCANS['chunked' if backend == 'auto' else backend]
    return scan(u, delta, A, B, C, D, delta_bias, delta_softplus, mask)


def _check(u, delta, A, B, C, D, delta_bias, mask):
    if u.dim() != 3:
        raise ValueError(f'selective_scan: u must be (batch, length, channels), got shape {tuple(u.shape)}')
    if A.dim() != 2:
        raise ValueError(f'selective_scan: A must be (channels, state), got shape {tuple(A.shape)}')
    (batch, length, channels), state = u.shape, A.shape[1]
    for name, value, names, shape in (
            ('delta', delta, '(batch, length, channels)', (batch, length, channels)),
            ('A', A, '(channels, state)', (channels, state)),
            ('B', B, '(batch, length, state)', (batch, length, state)),
            ('C', C, '(batch, length, state)', (batch, length, state)),
            ('D', D, '(channels,)', (channels,)),
            ('delta_bias', delta_bias, '(channels,)', (channels,)),
            ('mask', mask, '(batch, length)', (batch, length))):
        if value is None:
            continue
        if value.shape != shape:
            raise ValueError(f'selective_scan: {name} must be {names} = {shape} to fit u, got {tuple(value.shape)}')
        if value.device != u.device:
            raise ValueError(f'selective_scan: {name} must be on {u.device}, where u is, got {value.device}')
        if (value.dtype == torch.bool) != (name == 'mask') or value.is_complex():
            raise ValueError(f'selective_scan: {name} must be {"bool" if name == "mask" else "real floating point"}, '
                             f'got {value.dtype}')
    if not u.is_floating_point():
        raise ValueError(f'selective_scan: u must be real floating point, got {u.dtype}')
