"""Best rates of this machine: a large copy, large matrix products by each library at hand."""
from collections.abc import Callable

import torch

from ..ops.onednn import linear_operator
from .timing import milliseconds

# Large enough to leave every cache, small enough to be done in seconds.
COPY_BYTES = dict(cpu=2**28, cuda=2**31)
MATMUL_SHAPES = dict(cpu=[(2048, 2048, 2048), (4096, 1024, 4096)], cuda=[(8192, 8192, 8192)])  # rows, inner, columns
REPEATS = 10


def copy_rate(device: torch.device) -> float:
    """Bytes per second of a large copy, counting those read and those written."""
    source = torch.rand(COPY_BYTES[device.type] // 4, device=device)  # equal values can be faster
    target = torch.empty_like(source)
    return 2 * source.nbytes / _best_seconds(lambda: target.copy_(source), device)


def matmul_rates(device: torch.device, dtype: torch.dtype) -> dict[str, float]:
    """FLOPs per second of matrix products by library, each at the best of `MATMUL_SHAPES`.

    A multiplication and an addition count as two. The libraries are what `torch.mm` calls (on a CPU in float32 'MKL',
    where PyTorch has it; else 'torch.mm') and, on a CPU, 'oneDNN', where its linear operator can be reached.
    """
    rates = {}
    for rows, inner, columns in MATMUL_SHAPES[device.type]:
        a, b = (torch.rand(*shape, device=device).to(dtype) for shape in ((rows, inner), (inner, columns)))
        for name, product in _products(a, b).items():
            rate = 2 * rows * inner * columns / _best_seconds(product, device)
            rates[name] = max(rate, rates.get(name, 0.))
    return rates


def _products(a: torch.Tensor, b: torch.Tensor) -> dict[str, Callable]:
    out = a.new_empty(len(a), b.shape[1])
    cpu = a.device.type == 'cpu'
    mkl = cpu and a.dtype == torch.float32 and torch.backends.mkl.is_available()
    products = {'MKL' if mkl else 'torch.mm': lambda: torch.mm(a, b, out=out)}
    linear = linear_operator() if cpu else None
    if linear is not None and a.dtype != torch.float16:  # which few CPUs compute in
        weight = b.t().contiguous()
        products['oneDNN'] = lambda: linear(a, weight, None, 'none', [], '')
    return products


@torch.no_grad()
def _best_seconds(function: Callable, device: torch.device) -> float:
    """The shortest of `REPEATS` calls: interruptions only ever make one longer."""
    return min(milliseconds(function, device) for _ in range(REPEATS)) / 1e3
