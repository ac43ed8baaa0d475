"""Selective scan on CPUs by loops that numba compiles: an extra, no compiler needed.

Where the chunked scan passes over its slabs a dozen times, these loops write results alone. They are compiled when the
first scan runs, in seconds, and kept on the disk from then on. Each takes some channels of a sequence; loops are shared
out over as many threads as PyTorch uses.
"""
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numba
import numpy as np
import torch
from torch import Tensor

from .chunked import plain_chunked_scan
from .numba_kernels import STEPS, compiled
from .operators import exporting, outside_autocast, register_gradient

if numba.config.DISABLE_JIT:
    raise ImportError('NUMBA_DISABLE_JIT is set: its loops would run in Python')
LANES, WIDEST = 16, 96  # channels of a loop: a vector's, or as many as the first cache holds states of


def _width(channels: int, sequences: int, threads: int) -> int:
    """Channels of a loop, a divisor of all: many, for it's the same work in fewer steps, but a loop for each thread."""
    widths = [width for width in range(1, min(channels, WIDEST) + 1) if channels % width == 0]
    enough = [width for width in widths if width >= LANES] or widths[-1:]
    return max((width for width in enough if sequences * channels // width >= threads), default=enough[0])


class _Threads:
    """The threads beside the calling one, started when they are first needed; a forked process starts its own."""

    def __init__(self) -> None:
        self.pool: ThreadPoolExecutor | None = None
        self.count = 0

    def run(self, loop: Callable, items: int, *args) -> None:
        """loop(first, last, *args) over parts of `items` at a time."""
        threads = max(1, min(torch.get_num_threads(), items))
        if threads - 1 > self.count:
            self.pool, self.count = ThreadPoolExecutor(threads - 1, 'selective-scan'), threads - 1
        bounds = [items * i // threads for i in range(threads + 1)]
        others = [self.pool.submit(loop, *part, *args)  # type: ignore[union-attr]
                  for part in pairwise(bounds[1:])]
        loop(*bounds[:2], *args)
        for other in others:
            other.result()


_threads = _Threads()
if hasattr(os, 'register_at_fork'):
    os.register_at_fork(after_in_child=_threads.__init__)  # type: ignore[misc]


def _loop(which: int, state: int, width: int) -> Callable:
    try:
        return compiled(state, width, True)[which]
    except RuntimeError:  # no folder that it can write to
        return compiled(state, width, False)[which]


def _strided(x: Tensor) -> tuple[np.ndarray, int, int]:
    """(batch, length, ·) as a flat float32 array, and what to add for the next row and the next token."""
    x = x.detach().to(torch.float32)
    if not x.numel() or x.stride(2) != 1:
        x = x.contiguous()
    row, token, _ = x.stride()
    span = (x.shape[0] - 1) * row + (x.shape[1] - 1) * token + x.shape[2] if x.numel() else 0
    return x.as_strided((span,), (1,)).numpy(), row, token


def _flat(x: Tensor) -> np.ndarray:
    return x.view(-1).numpy()


def _parameter(x: Tensor) -> np.ndarray:
    """A flat float32 copy: `numpy()` fixes the size of a tensor's storage, and sharding frees its parameters'."""
    return _flat(torch.empty(x.shape, dtype=torch.float32).copy_(x.detach()))


def _inputs(u, delta, A, B, C, D, delta_bias, delta_softplus, mask) -> tuple:
    zeros = u.new_zeros(u.shape[2], dtype=torch.float32)
    return (*_strided(u), *_strided(delta), _parameter(A), *_strided(B), *_strided(C),
            _parameter(zeros if D is None else D), _parameter(zeros if delta_bias is None else delta_bias),
            delta_softplus, np.empty(0, np.bool_) if mask is None else mask.contiguous().view(-1).numpy())


def _forward(args: tuple, keep: bool) -> tuple[Tensor, Tensor]:
    u, A = args[0], args[2]
    (batch, length, channels), state = u.shape, A.shape[1]
    y = u.new_empty(batch, length, channels, dtype=torch.float32)
    starts = y.new_empty((batch, -(-length // STEPS), channels, state) if keep else (0,))
    if y.numel():
        width = _width(channels, batch, torch.get_num_threads())
        _threads.run(_loop(0, state, width), batch * channels // width, length, channels, *_inputs(*args),
                     _flat(y), _flat(starts))
    return y.to(u.dtype), starts


@torch.library.custom_op('mmvision_mamba::numba_scan', mutates_args=())
@outside_autocast
def numba_scan_op(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                  delta_bias: Tensor | None, delta_softplus: bool, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """y as in `selective_scan`, and the states that the backward starts from."""
    return _forward((u, delta, A, B, C, D, delta_bias, delta_softplus, mask), True)


@torch.library.custom_op('mmvision_mamba::numba_scan_inference', mutates_args=())
@outside_autocast
def numba_scan_inference_op(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                            delta_bias: Tensor | None, delta_softplus: bool, mask: Tensor | None) -> Tensor:
    """y alone, without a gradient."""
    return _forward((u, delta, A, B, C, D, delta_bias, delta_softplus, mask), False)[0]


@torch.library.custom_op('mmvision_mamba::numba_scan_backward', mutates_args=())
@outside_autocast
def numba_scan_backward_op(dy: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                           delta_bias: Tensor | None, delta_softplus: bool, mask: Tensor | None,
                           starts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(du, ddelta, dA, dB, dC, dD, ddelta_bias); the last two count only where D and the bias are given."""
    (batch, length, channels), state = u.shape, A.shape[1]
    width = _width(channels, batch, torch.get_num_threads()) if u.numel() else channels or 1
    blocks = channels // width
    du, ddelta = (starts.new_empty(batch, length, channels) for _ in range(2))
    dB, dC = (starts.new_empty(blocks, batch, length, state) for _ in range(2))
    dA = starts.new_zeros(batch, channels, state)
    dD, dbias = (starts.new_zeros(batch, channels) for _ in range(2))
    if u.numel():
        _threads.run(_loop(1, state, width), batch * blocks, batch, length, channels, *_strided(dy),
                     *_inputs(u, delta, A, B, C, D, delta_bias, delta_softplus, mask),
                     *map(_flat, (starts, du, ddelta, dA, dB, dC, dD, dbias)))
    return (du.to(u.dtype), ddelta.to(delta.dtype), dA.sum(0).to(A.dtype), dB.sum(0).to(B.dtype),
            dC.sum(0).to(C.dtype), dD.sum(0), dbias.sum(0))


@numba_scan_op.register_fake
def _(u, delta, A, B, C, D, delta_bias, delta_softplus, mask):
    (batch, length, channels), state = u.shape, A.shape[1]
    starts = u.new_empty(batch, -(-length // STEPS), channels, state, dtype=torch.float32)
    return u.new_empty(u.shape), starts


@numba_scan_inference_op.register_fake
def _(u, delta, A, B, C, D, delta_bias, delta_softplus, mask):
    return u.new_empty(u.shape)


register_gradient(numba_scan_op, numba_scan_backward_op)


def numba_scan(*args) -> Tensor:
    """`selective_scan` by numba; while a graph is being exported, the chunked scan's plain operators."""
    if exporting():
        return plain_chunked_scan(*args)
    if torch.is_grad_enabled():
        return numba_scan_op(*args)[0]
    return numba_scan_inference_op(*args)
