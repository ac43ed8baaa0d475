"""The inside of a MambaVision mixer, between in_proj and out_proj, as one operator on CUDA.

Device memory bounds it, not arithmetic. So each intermediate is written once, where its reader wants it: the
convolutions write x to a buffer and z to its place in the output, the scan reads x_proj's output as slices of its
channels and writes y beside z. Nothing is transposed, cut or joined.

Bytes per token for half = 160, rank 20, state 8 (stage 3 of tiny) and activations of 2 bytes; the floor is to read xz
and write the output, 1,280 forward, and for the backward to read xz and the output's gradient and write xz's, 1,920.

=====================================  ==================================================  =============
forward                                read + written                                      bytes
=====================================  ==================================================  =============
convolutions, SiLU                     xz 640 + x 320, z 320                               1,280
x_proj                                 x 320 + dt, B, C 72                                 392
dt_proj                                dt 40 + Δ 320                                       360
scan                                   x, Δ, B, C 672 + y 320, states 320                  1,312
**sum**                                                                                    **3,344**
…  in inference, without the states                                                        **3,024**
=====================================  ==================================================  =============

=====================================  ==================================================  =============
backward                               read + written                                      bytes
=====================================  ==================================================  =============
x again                                half of xz 320 + x 320                              640
Δ again                                dt 40 + Δ 320                                       360
scan                                   dy, x, Δ, B, C 992 + dx, dΔ, dB, dC 672             1,664
its states and parts of sums           see `triton_kernels`                                3,376
dt_proj's input, and its weight        dΔ 320 + ddt 40, and dΔ, dt 360                     720
x_proj's input, and its weight         ddt, dB, dC, dx 392 + dx 320, and dx_proj, x 392    1,104
convolutions, SiLU                     dx, dz, xz 1,280 + dxz 640                          1,920
**sum**                                                                                    **9,784**
=====================================  ==================================================  =============

For the backward it keeps xz (640 bytes), x_proj's output (72) and the scan's states; x and Δ, 640 more, are made again.
"""
import torch
from torch import Tensor

from .operators import exporting, gradients_wanted, outside_autocast
from .selective_scan import triton_takes

MAX_KERNEL = 8  # taps: each takes three tiles of registers in the backward, and they are full at 8


def fuses(xz: Tensor, kernel: int, backend: str) -> bool:
    """Whether `fused_mixer` can take `xz`, with convolutions of `kernel` taps; else the plain operators are to run.

    `backend` is the scan's, as in `selective_scan`: 'auto' and 'triton' have a fused form.
    """
    return (backend in ('auto', 'triton') and kernel <= MAX_KERNEL and not exporting()
            and triton_takes(xz, interpreted=backend == 'triton'))


def fused_mixer(xz: Tensor, conv_x: Tensor, conv_z: Tensor, x_proj: Tensor, dt_proj: Tensor, dt_bias: Tensor,
                A_log: Tensor, D: Tensor, mask: Tensor | None = None) -> Tensor:
    """Convolutions and SiLU on both halves of the channels; x_proj, dt_proj and the scan on the first.

    Under autocast the projections run in its dtype, as linear layers do; convolutions and scan compute in float32.

    Args:
        xz: in_proj's output, ``(batch, length, 2·half)``.
        conv_x, conv_z: depthwise 'same' kernels of the two halves, ``(half, 1, kernel)``.
        x_proj: ``(rank + 2·state, half)``.
        dt_proj, dt_bias: ``(half, rank)`` and ``(half,)``.
        A_log: ``(half, state)``.
        D: ``(half,)``.
        mask: bool, ``(batch, length)``, True at real tokens: the scan passes over the others. xz is 0 there.

    Returns:
        ``(batch, length, 2·half)``: y, the scan's output, then z. The dtype is xz's, or autocast's.
    """
    device = xz.device.type
    if torch.is_autocast_enabled(device):
        xz = xz.to(torch.get_autocast_dtype(device))
    args = xz, conv_x, conv_z, x_proj, dt_proj, dt_bias, A_log, D, mask
    return mixer_op(*args)[0] if gradients_wanted(args) else mixer_inference_op(*args)


@torch.library.custom_op('mmvision_mamba::mixer', mutates_args=())
@outside_autocast
def mixer_op(xz: Tensor, conv_x: Tensor, conv_z: Tensor, x_proj: Tensor, dt_proj: Tensor, dt_bias: Tensor,
             A_log: Tensor, D: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The output, x_proj's output and the scan's states that its backward starts from."""
    return _mixer(xz, conv_x, conv_z, x_proj, dt_proj, dt_bias, A_log, D, mask, keep=True)


@torch.library.custom_op('mmvision_mamba::mixer_inference', mutates_args=())
@outside_autocast
def mixer_inference_op(xz: Tensor, conv_x: Tensor, conv_z: Tensor, x_proj: Tensor, dt_proj: Tensor, dt_bias: Tensor,
                       A_log: Tensor, D: Tensor, mask: Tensor | None) -> Tensor:
    """The output, where no gradient is asked for: no states are written."""
    return _mixer(xz, conv_x, conv_z, x_proj, dt_proj, dt_bias, A_log, D, mask, keep=False)[0]


def _mixer(xz: Tensor, conv_x: Tensor, conv_z: Tensor, x_proj: Tensor, dt_proj: Tensor, dt_bias: Tensor, A_log: Tensor,
           D: Tensor, mask: Tensor | None, keep: bool) -> tuple[Tensor, Tensor, Tensor]:
    from . import triton_conv, triton_scan  # imports Triton: only when it is needed
    half, rank, state = *dt_proj.shape, A_log.shape[1]
    xz = triton_conv.evenly_spaced(xz)
    out, x = xz.new_empty(xz.shape), xz.new_empty(*xz.shape[:2], half)
    triton_conv.conv_silu(xz, conv_x.contiguous(), conv_z.contiguous(), x, out[..., half:])
    proj = (x.flatten(0, 1) @ x_proj.to(x.dtype).t()).view(*x.shape[:2], len(x_proj))
    _, B, C = proj.split((rank, state, state), -1)
    starts = triton_scan.scan_forward(x, _delta(proj, dt_proj), _A(A_log), B, C, D.float(), _bias(dt_bias), True, mask,
                                      out[..., :half], keep=keep)
    return out, proj, starts


@torch.library.custom_op('mmvision_mamba::mixer_backward', mutates_args=())
@outside_autocast
def mixer_backward_op(dout: Tensor, xz: Tensor, conv_x: Tensor, conv_z: Tensor, x_proj: Tensor, dt_proj: Tensor,
                      dt_bias: Tensor, A_log: Tensor, D: Tensor, mask: Tensor | None, proj: Tensor, starts: Tensor
                      ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradients of xz, both convolutions in one, x_proj, dt_proj, dt_bias, A_log and D."""
    from . import triton_conv, triton_scan
    half, rank, state = *dt_proj.shape, A_log.shape[1]
    xz, dout = map(triton_conv.evenly_spaced, (xz, dout))
    weights = conv_x.contiguous(), conv_z.contiguous()
    x = xz.new_empty(*xz.shape[:2], half)
    triton_conv.conv_silu(xz, *weights, x, None)
    delta, A = _delta(proj, dt_proj), _A(A_log)
    _, B, C = proj.split((rank, state, state), -1)

    dx, ddelta, dproj = torch.empty_like(x), torch.empty_like(x), torch.empty_like(proj)
    ddt, dB, dC = dproj.split((rank, state, state), -1)
    dA, dD, dbias = triton_scan.scan_backward(dout[..., :half], x, delta, A, B, C, D.float(), _bias(dt_bias), True,
                                              mask, starts, dx, ddelta, dB, dC)
    # Flattened to two dimensions: matrix products then read and write slices of rows without a copy.
    x, dx2, ddelta, dt, ddt, dproj = (v.flatten(0, 1) for v in (x, dx, ddelta, proj[..., :rank], ddt, dproj))
    torch.mm(ddelta, dt_proj.to(x.dtype), out=ddt)
    ddt_proj = ddelta.t() @ dt
    dx2.addmm_(dproj, x_proj.to(x.dtype))
    dx_proj = dproj.t() @ x
    dxz, dconv = triton_conv.conv_silu_backward(dx, dout[..., half:], xz, *weights)
    return (dxz, dconv.to(conv_x.dtype), dx_proj.to(x_proj.dtype), ddt_proj.to(dt_proj.dtype),
            (2 * dbias).to(dt_bias.dtype), (dA * A).to(A_log.dtype), dD.to(D.dtype))


def _delta(proj: Tensor, dt_proj: Tensor) -> Tensor:
    """Δ before bias and softplus: dt_proj without its bias."""
    dt = proj.flatten(0, 1)[:, :dt_proj.shape[1]]
    return (dt @ dt_proj.to(dt.dtype).t()).view(*proj.shape[:2], len(dt_proj))


def _bias(dt_bias: Tensor) -> Tensor:
    """Twice dt_proj's bias, for the scan: the unfused mixer adds it in dt_proj and again in the scan."""
    return 2 * dt_bias.float()


def _A(A_log: Tensor) -> Tensor:
    return -torch.exp(A_log.float())


@mixer_op.register_fake
def _(xz, conv_x, conv_z, x_proj, dt_proj, dt_bias, A_log, D, mask):
    from .triton_scan import starts_shape
    (batch, length, _), (half, state) = xz.shape, A_log.shape
    starts = xz.new_empty(starts_shape(batch, length, half, state), dtype=torch.float32)
    return xz.new_empty(xz.shape), xz.new_empty(batch, length, len(x_proj)), starts


@mixer_backward_op.register_fake
def _(dout, xz, conv_x, conv_z, x_proj, dt_proj, dt_bias, A_log, D, mask, proj, starts):
    dconv = conv_x.new_empty(2, *conv_x.shape)
    return xz.new_empty(xz.shape), dconv, *(w.new_empty(w.shape) for w in (x_proj, dt_proj, dt_bias, A_log, D))


@mixer_inference_op.register_fake
def _(xz, *_):
    return xz.new_empty(xz.shape)


def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs, *output[1:])


def _backward(ctx, dout, *_):
    dxz, dconv, *grads = mixer_backward_op(dout, *ctx.saved_tensors)
    return dxz, *dconv.unbind(), *grads, None


mixer_op.register_autograd(_backward, setup_context=_save)
