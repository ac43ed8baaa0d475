"""Depthwise convolution along the sequence, then SiLU, on channels-last tokens: one pass forward, one back (Triton).

Both halves of the mixer's channels go through the same kernel, each with its own weights and its own place to write to,
so that nothing is transposed, split or concatenated. A program owns a tile of tokens by channels; neighbouring tokens
of a tile are read once from device memory and again from cache. The backward recomputes the convolution from its input
rather than keep it, and sums each weight's gradient over its program's tokens, then over programs: in one fixed order,
so the same input gives the same gradient to the last bit.

Tokens of a batch are numbered through: tensors are ``(batch, length, channels)`` with one stride from each token to the
next and stride 1 between channels, which slices of a contiguous tensor's channels are.
"""
import torch
import triton
import triton.language as tl
from torch import Tensor

from .operators import on_device

TOKENS, CHANNELS, WARPS = 16, 64, 4  # of a tile: 8 elements to a thread, 16 bytes of bfloat16
# The most that a thread may have: left to itself, the assembler for compute capability 10.0 saves registers and spills.
BACKWARD_REGISTERS = 255


@triton.jit
def _positions(tile, tokens, length, TOKENS: tl.constexpr):
    """The tile's token numbers, as a column, and their places in their sequences; -1 where there is no token."""
    t = tile * TOKENS + tl.arange(0, TOKENS)
    place = tl.where(t < tokens, t % length, -1)
    return t.to(tl.int64)[:, None], place[:, None]


@triton.jit
def _inside(place, shift, length):
    """Whether the token `shift` further on is of the same sequence."""
    return (place >= 0) & (place + shift >= 0) & (place + shift < length)


@triton.jit
def _taps(weight_x, weight_z, HALF: tl.constexpr, KERNEL: tl.constexpr, CHANNELS: tl.constexpr):
    """The program's channels, as a row, which half they are of, and their weights, tap by tap."""
    blocks: tl.constexpr = (HALF + CHANNELS - 1) // CHANNELS
    c = tl.program_id(1) % blocks * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    half = tl.program_id(1) // blocks
    weight = weight_x
    if half == 1:
        weight = weight_z
    w = ()
    for k in tl.static_range(KERNEL):
        w += (tl.load(weight + c * KERNEL + k, mask=c < HALF, other=0).to(tl.float32),)
    return c, half, w


@triton.jit(do_not_specialize=['tokens', 'length', 'tiles'])
def conv_forward(xz, weight_x, weight_z, x, z, tokens, length, tiles, HALF: tl.constexpr, KERNEL: tl.constexpr,
                 XZ_STRIDE: tl.constexpr, X_STRIDE: tl.constexpr, Z_STRIDE: tl.constexpr, TOKENS: tl.constexpr,
                 CHANNELS: tl.constexpr):
    """With p_l = Σ_k w_k v_{l+k-left}:  x or z, by the half of the channels, is SiLU(p)."""
    left: tl.constexpr = (KERNEL - 1) // 2
    c, half, w = _taps(weight_x, weight_z, HALF, KERNEL, CHANNELS)

    for tile in range(tl.program_id(0) * tiles, tl.program_id(0) * tiles + tiles):
        t, place = _positions(tile, tokens, length, TOKENS)
        p = tl.zeros([TOKENS, CHANNELS], tl.float32)
        for k in tl.static_range(KERNEL):
            v = tl.load(xz + (t + k - left) * XZ_STRIDE + half * HALF + c,
                        mask=_inside(place, k - left, length) & (c < HALF), other=0)
            p += w[k] * v.to(tl.float32)
        out = x + t * X_STRIDE
        if half == 1:
            out = z + t * Z_STRIDE
        tl.store(out + c, p * tl.sigmoid(p), mask=(place >= 0) & (c < HALF))


@triton.jit(do_not_specialize=['tokens', 'length', 'tiles'])
def conv_backward(dx, dz, xz, weight_x, weight_z, dxz, dweight, tokens, length, tiles, HALF: tl.constexpr,
                  KERNEL: tl.constexpr, XZ_STRIDE: tl.constexpr, DX_STRIDE: tl.constexpr, DZ_STRIDE: tl.constexpr,
                  TOKENS: tl.constexpr, CHANNELS: tl.constexpr):
    """With p_l = Σ_k w_k v_{l+k-left}:  dv_m = Σ_k w_k dp_{m-k+left}  and  dw_k = Σ_l dp_l v_{l+k-left}."""
    left: tl.constexpr = (KERNEL - 1) // 2
    c, half, w = _taps(weight_x, weight_z, HALF, KERNEL, CHANNELS)
    dw = ()
    for _ in tl.static_range(KERNEL):
        dw += (tl.zeros([TOKENS, CHANNELS], tl.float32),)

    for tile in range(tl.program_id(0) * tiles, tl.program_id(0) * tiles + tiles):
        t, place = _positions(tile, tokens, length, TOKENS)
        v = ()
        for i in tl.static_range(1 - KERNEL, KERNEL):
            v += (tl.load(xz + (t + i) * XZ_STRIDE + half * HALF + c,
                          mask=_inside(place, i, length) & (c < HALF), other=0).to(tl.float32),)
        dv = tl.zeros([TOKENS, CHANNELS], tl.float32)
        for j in tl.static_range(KERNEL):
            p = tl.zeros([TOKENS, CHANNELS], tl.float32)  # the convolution at the token left - j further on
            for k in tl.static_range(KERNEL):
                p += w[k] * v[KERNEL - 1 - j + k]
            gate = tl.sigmoid(p)
            source = dx + (t + left - j) * DX_STRIDE
            if half == 1:
                source = dz + (t + left - j) * DZ_STRIDE
            dp = tl.load(source + c, mask=_inside(place, left - j, length) & (c < HALF), other=0)
            dp = dp.to(tl.float32) * gate * (1 + p * (1 - gate))
            dv += w[j] * dp
            if j == left:
                sums = ()
                for k in tl.static_range(KERNEL):
                    sums += (dw[k] + dp * v[KERNEL - 1 - left + k],)
                dw = sums
        tl.store(dxz + t * (2 * HALF) + half * HALF + c, dv, mask=(place >= 0) & (c < HALF))

    rows = dweight + (tl.program_id(0) * 2 + half) * (HALF * KERNEL)
    for k in tl.static_range(KERNEL):
        tl.store(rows + c * KERNEL + k, tl.sum(dw[k], 0, keep_dims=True), mask=c < HALF)


def _token_stride(v: Tensor) -> int | None:
    """Elements from a token to the next one, of its sequence or of the next sequence. None: it varies."""
    batch, length, channels = v.shape
    stride = v.stride(0 if length == 1 else 1)
    even = (batch == 1 or v.stride(0) == length * stride) and (channels == 1 or v.stride(2) == 1)
    return stride if even else None


def evenly_spaced(v: Tensor) -> Tensor:
    """`v` with one stride from token to token, as the kernels read it; copied only if need be. A linear layer's output
    never is."""
    return v if _token_stride(v) is not None else v.contiguous()


def _cut(tokens: int, half: int) -> tuple[int, int, int]:
    """(programs, tiles of each, blocks of channels): programs enough to fill a GPU, few enough to share the weights."""
    tiles = triton.cdiv(tokens, TOKENS)
    share = min(16, triton.cdiv(tiles, 256))
    return triton.cdiv(tiles, share), share, triton.cdiv(half, CHANNELS)


def conv_silu(xz: Tensor, weight_x: Tensor, weight_z: Tensor, x: Tensor, z: Tensor | None) -> None:
    """Write SiLU(conv(first half of xz)) to `x`, and the second half's to `z` unless that is None.

    Args:
        xz: ``(batch, length, 2·half)``. It, x and z are `evenly_spaced`.
        weight_x, weight_z: ``(half, 1, kernel)``, contiguous, of one dtype; the padding is `F.conv1d`'s 'same'.
        x, z: ``(batch, length, half)``.
    """
    (batch, length, channels), kernel = xz.shape, weight_x.shape[-1]
    half, tokens = channels // 2, batch * length
    if tokens == 0:
        return
    second = x if z is None else z  # nothing is written there where z is None
    programs, tiles, blocks = _cut(tokens, half)
    with on_device(xz):
        conv_forward[(programs, blocks if z is None else 2 * blocks)](
            xz, weight_x, weight_z, x, second, tokens, length, tiles, HALF=half, KERNEL=kernel,
            XZ_STRIDE=_token_stride(xz), X_STRIDE=_token_stride(x), Z_STRIDE=_token_stride(second), TOKENS=TOKENS,
            CHANNELS=CHANNELS, num_warps=WARPS)


def conv_silu_backward(dx: Tensor, dz: Tensor, xz: Tensor, weight_x: Tensor,
                       weight_z: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of xz, contiguous, and of both weights in one, ``(2, half, 1, kernel)`` and float32.

    Args:
        dx, dz: the gradients of x and z, ``(batch, length, half)``, `evenly_spaced`. The others are `conv_silu`'s.
    """
    (batch, length, channels), kernel = xz.shape, weight_x.shape[-1]
    half, tokens = channels // 2, batch * length
    dxz = torch.empty(xz.shape, dtype=xz.dtype, device=xz.device)
    if tokens == 0:
        return dxz, torch.zeros(2, half, 1, kernel, dtype=torch.float32, device=xz.device)
    programs, tiles, blocks = _cut(tokens, half)
    dweight = torch.empty(programs, 2, half, 1, kernel, dtype=torch.float32, device=xz.device)
    with on_device(xz):
        conv_backward[(programs, 2 * blocks)](
            dx, dz, xz, weight_x, weight_z, dxz, dweight, tokens, length, tiles, HALF=half, KERNEL=kernel,
            XZ_STRIDE=_token_stride(xz), DX_STRIDE=_token_stride(dx), DZ_STRIDE=_token_stride(dz), TOKENS=TOKENS,
            CHANNELS=CHANNELS, num_warps=WARPS, maxnreg=BACKWARD_REGISTERS)
    return dxz, dweight.sum(0)


def compile_variants():
    """(kernel, label, signature, constants, options) of every kernel that `tools/dev/compile_report.py` compiles."""
    for dtype, half, taps in (('bf16', 160, 3), ('fp32', 160, 3), ('bf16', 392, 3), ('bf16', 160, 4)):
        constants = dict(HALF=half, KERNEL=taps, TOKENS=TOKENS, CHANNELS=CHANNELS, XZ_STRIDE=2 * half)
        for kernel, strides, registers in (
                (conv_forward, dict(X_STRIDE=half, Z_STRIDE=2 * half), {}),
                (conv_backward, dict(DX_STRIDE=half, DZ_STRIDE=2 * half), dict(maxnreg=BACKWARD_REGISTERS))):
            signature = {name: 'i32' if name in ('tokens', 'length', 'tiles') else
                         '*fp32' if 'weight' in name else f'*{dtype}'
                         for name in kernel.arg_names if name not in {**constants, **strides}}
            yield kernel, f'{dtype}, {half} channels, {taps} taps', signature, {**constants, **strides}, \
                dict(num_warps=WARPS, **registers)
