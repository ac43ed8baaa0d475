"""Selective scan in Triton, for CUDA tensors: the launches of the kernels, and the operators around them.

The sequence is cut into tiles of about 16 tokens, and chunks of tiles. Where sequences and channels alone give too few
programs, the chunks of a sequence are scanned side by side: (a) each from a zero state, for the state at its end;
(b) those ends are chained; (c) each is scanned from its true start. One chunk needs (c) alone. The forward keeps the
state at each tile's start, N / 16 floats per token and channel; the backward starts from those, a tile per program,
once the states' gradients have gone through the same (a) and (b) in reverse. No sum uses atomics: results don't vary
from run to run. What each kernel moves is written down in `triton_kernels`.

With TRITON_INTERPRET=1 in the environment before the first import, Triton runs the kernels on CPU tensors: for tests.
"""
from itertools import product

import torch
import triton
from torch import Tensor

from . import triton_kernels as kernels
from .chunked import plain_chunked_scan
from .operators import exporting, gradients_wanted, on_device, outside_autocast, register_gradient

WARP = 32
CHAIN = (16, 32)  # states chained per step, of short and of long chains
ENOUGH = 1024  # programs of one warp each, about 8 per multiprocessor: as many need no splitting of sequences,
PLENTY = 2048  # fewer are split into as many as this
GRADIENT_REGISTERS = 168  # per thread; left alone, the assembler takes 200


def scan_forward(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                 delta_bias: Tensor | None, delta_softplus: bool, mask: Tensor | None, out: Tensor,
                 keep: bool = True) -> Tensor:
    """Scan as `selective_scan` does, into `out`.

    Args:
        u, delta, A, B, C, D, delta_bias, delta_softplus, mask: as in `selective_scan`, in float32, float16 or bfloat16
            each. Batches and tokens may lie any distance apart, channels and states must lie together: a tensor where
            they don't is copied.
        out: ``(batch, length, channels)``, gets y; strides as above, but not copied.
        keep: whether a backward is to follow. Default: True.

    Returns:
        With `keep`, the float32 states at the start of every tile but the first, ``(batch, tiles - 1, state,
        channels)``; else those of chunks, of no use to anyone.
    """
    (batch, length, channels), state = u.shape, A.shape[1]
    tile = tile_size(length)
    tiles, blocks = triton.cdiv(length, tile), triton.cdiv(channels, WARP)
    if not u.numel():
        return u.new_empty(starts_shape(batch, length, channels, state), dtype=torch.float32)
    chunk = _chunk(tiles, batch * blocks, state)
    chunks = triton.cdiv(tiles, chunk)
    starts = u.new_empty(batch, (tiles if keep else chunks) - 1, state, channels, dtype=torch.float32)
    u, delta, B, C = _rows(u), _rows(delta), _shared(B), _shared(C)
    A, D, delta_bias, mask = _parameters_and_mask(A, D, delta_bias, mask)
    sums = u.new_empty(batch, chunks - 1, channels, dtype=torch.float32)
    constants = dict(C_ROW=C.stride(1), N=state, T=tile, BLOCK=WARP, SOFTPLUS=delta_softplus, num_warps=1)

    def scan(ends):
        kernels.scan_tiles[(batch * (chunks - ends) * blocks,)](
            u, delta, A, B, C, D, delta_bias, mask, out, starts, sums, *_strides(u, delta), B.stride(0), C.stride(0),
            *_strides(mask, out), length, channels, chunks, chunk, B_ROW=B.stride(1), **constants, ENDS=ends,
            KEEP=keep, maxnreg=_scan_registers(state, ends))

    with on_device(u):
        if chunks > 1:
            scan(True)
            _chain(starts[:, chunk - 1::chunk] if keep else starts, sums, A, reverse=False)
        scan(False)
    return starts


def scan_backward(dy: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                  delta_bias: Tensor | None, delta_softplus: bool, mask: Tensor | None, starts: Tensor, du: Tensor,
                  ddelta: Tensor, dB: Tensor, dC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `scan_forward`, from y's and the states that it returned.

    Args:
        dy: ``(batch, length, channels)``, the gradient of y. The others are `scan_forward`'s.
        du, ddelta, dB, dC: shaped like their namesakes, get their gradients; strides as `scan_forward`'s `out`.

    Returns:
        dA ``(channels, state)``, dD and ddelta_bias ``(channels,)``, float32. The last two count only where D and the
        bias are given.
    """
    (batch, length, channels), state = u.shape, A.shape[1]
    tile = tile_size(length)
    tiles, blocks = triton.cdiv(length, tile), triton.cdiv(channels, WARP)
    if not u.numel():
        dB.zero_(), dC.zero_()
        dA, dD, dbias = (u.new_zeros(shape, dtype=torch.float32) for shape in (A.shape, channels, channels))
        return dA, dD, dbias
    dy, u, delta, B, C = _rows(dy), _rows(u), _rows(delta), _shared(B), _shared(C)
    A, D, delta_bias, mask = _parameters_and_mask(A, D, delta_bias, mask)
    ends, sums = torch.empty_like(starts), starts.new_empty(batch, tiles - 1, channels)
    shared = starts.new_empty(blocks, 2, batch, length, state)
    parts = starts.new_empty(batch * tiles, state + 2, channels)
    constants = dict(C_ROW=C.stride(1), N=state, T=tile, BLOCK=WARP, SOFTPLUS=delta_softplus, num_warps=1)
    with on_device(u):
        if tiles > 1:
            kernels.reverse_ends[(batch * (tiles - 1) * blocks,)](
                dy, delta, A, C, delta_bias, mask, ends, sums, *_strides(dy, delta), C.stride(0), *_strides(mask),
                length, channels, **constants)
            _chain(ends, sums, A, reverse=True)
        kernels.scan_gradients[(batch * tiles * blocks,)](
            dy, u, delta, A, B, C, D, delta_bias, mask, starts, ends, du, ddelta, shared, parts,
            *_strides(dy, u, delta), B.stride(0), C.stride(0), *_strides(mask, du, ddelta), batch, length, channels,
            B_ROW=B.stride(1), **constants, maxnreg=GRADIENT_REGISTERS)
        kernels.sum_blocks[(triton.cdiv(batch * length * state, 128),)](
            shared, dB, dC, *_strides(dB, dC), blocks, batch, length, N=state, SIZE=128, num_warps=1)
    total = parts.sum(0)
    # Clones, since an operator's results may not share memory.
    dA = total[:state].t().clone(memory_format=torch.contiguous_format)
    return dA, total[state].clone(), total[state + 1].clone()


def _chain(states: Tensor, sums: Tensor, A: Tensor, reverse: bool) -> None:
    batch, count, state, channels = states.shape
    kernels.chain[(batch * state * triton.cdiv(channels, WARP),)](
        states, sums, A, count, states.stride(1), states.stride(0), channels, N=state, ROWS=CHAIN[count > 48],
        BLOCK=WARP, REVERSE=reverse, num_warps=1)


def tile_size(length: int) -> int:
    """Tokens per tile, at most `length`: as many as registers allow, with little overlap of the last two tiles."""
    if length >= 16:
        return min((16, 14), key=lambda tile: -length % tile)  # most windows have a multiple of 14 tokens
    return next((tile for tile in (14, 8, 4, 2) if tile <= length), 1)


def starts_shape(batch: int, length: int, channels: int, state: int) -> tuple[int, int, int, int]:
    """Shape of the states that `scan_forward` returns."""
    return batch, max(triton.cdiv(length, tile_size(length)) - 1, 0), state, channels


def _chunk(tiles: int, programs: int, state: int) -> int:
    """Tiles per chunk, where there are `programs` for each chunk."""
    if state > kernels.STATIC_STATES.value:
        return 1
    return tiles if programs >= ENOUGH else triton.cdiv(tiles, triton.cdiv(PLENTY, programs))


def _scan_registers(state: int, ends: bool) -> int | None:
    """Most registers per thread for scan_tiles. None: the assembler's choice, which is 128 at most.

    In the other cases the assembler, left alone, takes more for no gain, or spills.
    """
    return 128 if ends or state > kernels.STATIC_STATES.value else None


def _rows(x: Tensor) -> Tensor:
    """`x` with its last dimension contiguous, and tokens near enough for 32-bit offsets within a tile."""
    return x if (x.stride(2) == 1 or x.shape[2] == 1) and x.stride(1) < 2**26 else x.contiguous()


def _shared(x: Tensor) -> Tensor:
    """B or C; the kernels are compiled for the distance of its tokens, so it had better not depend on batch or size."""
    return x if (x.stride(2) == 1 or x.shape[2] == 1) and x.stride(1) <= 1024 else x.contiguous()


def _parameters_and_mask(A, D, delta_bias, mask):
    """A, D, delta_bias and mask as the kernels read them: parameters contiguous, A in float32, the mask as bytes."""
    D, delta_bias = (None if v is None else v.contiguous() for v in (D, delta_bias))
    return A.float().contiguous(), D, delta_bias, None if mask is None else mask.view(torch.uint8)


def _strides(*tensors):
    """Batch and token strides of every tensor; of a mask that is None, zeros."""
    return [s for x in tensors for s in ((0, 0) if x is None else x.stride()[:2])]


@torch.library.custom_op('mmvision_mamba::triton_scan', mutates_args=())
@outside_autocast
def triton_scan_op(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                   delta_bias: Tensor | None, delta_softplus: bool, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """y as in `selective_scan`, and the states that the backward starts from."""
    y = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    return y, scan_forward(u, delta, A, B, C, D, delta_bias, delta_softplus, mask, y)


@torch.library.custom_op('mmvision_mamba::triton_scan_backward', mutates_args=())
@outside_autocast
def triton_scan_backward_op(dy: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                            delta_bias: Tensor | None, delta_softplus: bool, mask: Tensor | None,
                            starts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(du, ddelta, dA, dB, dC, dD, ddelta_bias); the last two count only where D and the bias are given."""
    du, ddelta, dB, dC = (torch.empty(v.shape, dtype=v.dtype, device=v.device) for v in (u, delta, B, C))
    dA, dD, dbias = scan_backward(dy, u, delta, A, B, C, D, delta_bias, delta_softplus, mask, starts, du, ddelta, dB,
                                  dC)
    return du, ddelta, dA.to(A.dtype), dB, dC, dD, dbias


@triton_scan_op.register_fake
def _(u, delta, A, B, C, D, delta_bias, delta_softplus, mask):
    return u.new_empty(u.shape), u.new_empty(starts_shape(*u.shape, A.shape[1]), dtype=torch.float32)


register_gradient(triton_scan_op, triton_scan_backward_op)


@torch.library.custom_op('mmvision_mamba::triton_scan_inference', mutates_args=())
@outside_autocast
def triton_scan_inference_op(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                             delta_bias: Tensor | None, delta_softplus: bool, mask: Tensor | None) -> Tensor:
    """y as in `selective_scan`, where no gradient is asked for: no states are written."""
    y = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    scan_forward(u, delta, A, B, C, D, delta_bias, delta_softplus, mask, y, keep=False)
    return y


@triton_scan_inference_op.register_fake
def _(u, *_):
    return u.new_empty(u.shape)


def triton_scan(*args) -> Tensor:
    """`selective_scan` in Triton; while a graph is being exported, the chunked scan's plain operators."""
    if exporting():
        return plain_chunked_scan(*args)
    return triton_scan_op(*args)[0] if gradients_wanted(args) else triton_scan_inference_op(*args)


def compile_variants():
    """(kernel, label, signature, constants, options) of every kernel that tools/dev/compile_report.py compiles.

    `signature` has the types of the arguments that are no constants. All optional arguments are given: that is the most
    a kernel can need.
    """
    for state in (8, 16, 64):
        for rows in CHAIN:
            yield _variant(kernels.chain, f'{state} states, {rows} rows',
                           dict(N=state, ROWS=rows, BLOCK=WARP, REVERSE=True))
        for dtype in ('fp32', 'bf16', 'fp16'):
            label = f'{dtype}, {state} states'
            constants = dict(C_ROW=2 * state, N=state, T=16, BLOCK=WARP, SOFTPLUS=True)
            yield _variant(kernels.reverse_ends, label, constants, dtype)
            constants['B_ROW'] = 2 * state
            for ends, keep in product((False, True), (True, False)):
                name = ', '.join([label, *(['ends'] if ends else []), *([] if keep else ['inference'])])
                yield _variant(kernels.scan_tiles, name, dict(constants, ENDS=ends, KEEP=keep), dtype,
                               _scan_registers(state, ends))
            yield _variant(kernels.scan_gradients, label, constants, dtype, GRADIENT_REGISTERS)
            yield _variant(kernels.sum_blocks, label, dict(N=state, SIZE=128), dtype)


def _variant(kernel, label, constants, dtype='fp32', registers=None):
    float32 = ('A', 'D', 'bias', 'starts', 'ends', 'states', 'sums', 'shared')
    activations = ('u', 'delta', 'B', 'C', 'y', 'dy', 'du', 'ddelta', 'dB', 'dC')
    types = dict.fromkeys(float32, '*fp32') | dict.fromkeys(activations, f'*{dtype}') | dict(mask='*u8')
    signature = {name: types.get(name, 'i32') for name in kernel.arg_names if name not in constants}
    return kernel, label, signature, constants, dict(num_warps=1, maxnreg=registers)
