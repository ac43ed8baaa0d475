"""FLOPs and bytes of a call: counted by torch, and by formula where torch cannot look inside."""
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import (
    FlopCounterMode,
    conv_flop_count,
    sdpa_flop_count,
)

from ..backbones.mixers import Mixer
from ..ops.operators import plain_operators


def scan_flops(batch: int, length: int, channels: int, state: int, phase: str = 'forward') -> int:
    """FLOPs of a selective scan, the same for every implementation; an exponential counts as one.

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
    """Yield a function that returns the FLOPs since the block began: torch's count of convolutions, matrix products
    and attention, and `scan_flops` of every mixer.

    Attention over L tokens of D channels in H heads counts 4 · H · L² · D, and twice that for its backward, whichever
    operators do it: what a kernel computes anew does not count. So layers call PyTorch's own operators meanwhile, and
    the mixers run with the chunked scan, which its counter can't look into.
    """
    with _counted_scans(model, phase) as scans, plain_operators(), \
            FlopCounterMode(display=False, custom_mapping=_CORRECTIONS) as counter:
        yield lambda: counter.get_total_flops() + sum(scans)


@contextmanager
def _counted_scans(model: nn.Module, phase: str):
    """Yield a list that gets the FLOPs of each scan; the mixers use the chunked scan until the block ends."""
    scans = []

    def count(mixer, args, output):
        batch, length, _ = args[0].shape
        scans.append(scan_flops(batch, length, len(mixer.D), mixer.d_state, phase))

    mixers = [module for module in model.modules() if isinstance(module, Mixer)]
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


def _attention_flops(query, key, value, *args, out_shape=None, **kwargs):
    return sdpa_flop_count(query, key, value)


def _attention_backward_flops(grad, query, key, value, *args, out_shape=None, **kwargs):
    return 2 * sdpa_flop_count(query, key, value)


def _convolution_backward_flops(grad_output, x, weight, bias, stride, padding, dilation, transposed, output_padding,
                                groups, output_mask, out_shape=None):
    return sum(output_mask[:2]) * conv_flop_count(list(x), list(weight), list(grad_output), transposed)


_KERNELS = [f'_scaled_dot_product_{kind}' for kind in (
    'flash_attention_for_cpu', 'flash_attention', 'efficient_attention', 'cudnn_attention',
    'fused_attention_overrideable')]
# torch's counter lacks the CPU's attention kernels, and counts the backward of grouped convolutions as of plain ones.
# Of attention's backward it counts the scores, which kernels compute anew, where a model that keeps them does not.
_CORRECTIONS = {torch.ops.aten.convolution_backward: _convolution_backward_flops} | {
    getattr(torch.ops.aten, name): flops for kernel in _KERNELS for name, flops in (
        (kernel, _attention_flops), (f'{kernel}_backward', _attention_backward_flops))
    if hasattr(torch.ops.aten, name)}
