"""Best rates of this machine: a large copy, large matrix products."""
from collections.abc import Callable

import torch

from .timing import milliseconds

# Large enough to leave every cache, small enough to be done in seconds.
COPY_BYTES = dict(cpu=2**28, cuda=2**31)
MATMUL_SIZE = dict(cpu=2048, cuda=8192)
REPEATS = 10


def copy_rate(device: torch.device) -> float:
    """Bytes per second of a large copy, counting those read and those written."""
    source = torch.ones(COPY_BYTES[device.type] // 4, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best_seconds(lambda: target.copy_(source), device)


def matmul_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs per second of a large square matrix product, a multiplication and an addition counted as two."""
    n = MATMUL_SIZE[device.type]
    a, b = (torch.rand(n, n, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(a)
    return 2 * n**3 / _best_seconds(lambda: torch.mm(a, b, out=out), device)


def _best_seconds(function: Callable, device: torch.device) -> float:
    """The shortest of `REPEATS` calls: interruptions only ever make one longer."""
    return min(milliseconds(function, device) for _ in range(REPEATS)) / 1e3
