"""What this machine can do at best, and what a call asks of it."""
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import (
    FlopCounterMode,
    conv_flop_count,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from ..backbones.mambavision import MambaVisionMixer

# Large enough to leave every cache, small enough to be done in seconds.
COPY_BYTES = dict(cpu=2**28, cuda=2**31)
MATMUL_SIZE = dict(cpu=2048, cuda=8192)
REPEATS = 10


def copy_rate(device: torch.device) -> float:
    """Bytes per second of a large copy, those read and those written."""
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
    """The shortest of some calls: interruptions only ever make one longer."""
    best = float('inf')
    for _ in range(REPEATS):
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        function()
        if device.type == 'cuda':
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - start)
    return best


def scan_flops(batch: int, length: int, channels: int, state: int, phase: str = 'forward') -> int:
    """FLOPs of a selective scan, whichever way it is computed; an exponential counts as one.

    Per token, channel and state 7: Δ A, its exponential, (Δ u) B, a multiplication and an addition for the state, two
    for C · h. A backward adds 20: the states anew (5), their gradient (3), the gradients of B, C and Δ u (2 each), that
    of Δ A (2), and from it those of Δ and A (2 each). Per token and channel 7: bias, softplus (3), Δ u, D u and adding
    it; in the backward 14.
    """
    tokens = batch * length * channels
    return tokens * (7 * state + 7) + (tokens * (20 * state + 14) if phase == 'training' else 0)


def scan_bytes(inputs: list[Tensor], output: Tensor, phase: str = 'forward') -> int:
    """Each input read once and the output written once; training: also inputs and dy read, gradients written."""
    read = sum(x.nbytes for x in inputs)
    return read + output.nbytes + (2 * read + output.nbytes if phase == 'training' else 0)


def count_flops(function: Callable[[], object], model: nn.Module, phase: str) -> int:
    """FLOPs of a call of `function`, see `counted_flops`."""
    with counted_flops(model, phase) as counted:
        function()
    return counted()


@contextmanager
def counted_flops(model: nn.Module, phase: str = 'forward') -> Iterator[Callable[[], int]]:
    """Yields a function that tells how many FLOPs there were since: torch's count of convolutions, matrix products and
    attention, and `scan_flops` of every mixer.

    The mixers run with the chunked scan, which torch's counter can't look into.
    """
    with _counted_scans(model, phase) as scans, FlopCounterMode(display=False, custom_mapping=_CORRECTIONS) as torchs:
        yield lambda: torchs.get_total_flops() + sum(scans)


@contextmanager
def _counted_scans(model: nn.Module, phase: str):
    scans = []

    def count(mixer, args, output):
        batch, length, _ = args[0].shape
        scans.append(scan_flops(batch, length, len(mixer.D), mixer.d_state, phase))

    mixers = [module for module in model.modules() if isinstance(module, MambaVisionMixer)]
    backends = [mixer.scan_backend for mixer in mixers]
    handles = [mixer.register_forward_hook(count) for mixer in mixers]
    for mixer in mixers:
        mixer.scan_backend = 'chunked'
    try:
        yield scans
    finally:
        for mixer, backend, handle in zip(mixers, backends, handles):
            mixer.scan_backend = backend
            handle.remove()


def _attention(query, key, value, *args, out_shape=None, **kwargs):
    return sdpa_flop_count(query, key, value)


def _attention_backward(grad, query, key, value, *args, out_shape=None, **kwargs):
    return sdpa_backward_flop_count(grad, query, key, value)


def _convolution_backward(grad_output, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups,
                          output_mask, out_shape=None):
    return sum(output_mask[:2]) * conv_flop_count(list(x), list(weight), list(grad_output), transposed)


# torch's counter knows the attention kernels of GPUs, and counts the backward of grouped convolutions as of plain ones.
_CORRECTIONS = {
    torch.ops.aten.convolution_backward: _convolution_backward,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
