"""Loops of the selective scan for CPUs, compiled by numba; `numba_scan` calls them.

A loop owns some channels of a sequence, whose states stay in the first cache from the first token to the last: nothing
is written but the results. Its channels are the lanes of vectors. Arrays are flat, float32; strides say what lies
where. What the inner loops touch lies in few arrays, by rows, and is reached through slices: a compiler makes vectors
of a loop only where it can tell that no index is negative and no array overlaps another, and gives up at a handful.
"""
import functools
from collections.abc import Callable

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic

STEPS = 16  # tokens whose states the backward holds at once; the forward keeps the state before each of these
_FAST = {'contract', 'reassoc', 'nsz'}  # sums become vectors; a NaN stays one
f32 = np.float32
LOG2E = f32(1.4426950408889634)


@intrinsic
def _power_of_two(typing_context, exponent):
    """2 to a whole number from -126 to 128, of which the last is infinity: bits of a float32."""
    def generate(context, builder, signature, args):
        bits = builder.fptosi(args[0], ir.IntType(32))
        bits = builder.shl(builder.add(bits, ir.Constant(ir.IntType(32), 127)), ir.Constant(ir.IntType(32), 23))
        return builder.bitcast(bits, ir.FloatType())
    return types.float32(types.float32), generate


@njit(inline='always', fastmath=_FAST)
def _exp2(x):
    """2 to the x; x is a float32. Comparisons are written so that a NaN passes them."""
    x = f32(-126) if x < f32(-126) else x
    x = f32(128) if x > f32(128) else x
    whole = np.floor(x + f32(.5))
    r = x - whole
    # Taylor's polynomial of exp(r ln 2), |r| <= 1/2: the next term is at most 5e-9
    p = f32(1.5252733804059840e-5)
    p = p * r + f32(1.5403530393381608e-4)
    p = p * r + f32(1.3333558146428443e-3)
    p = p * r + f32(9.6181291076284770e-3)
    p = p * r + f32(5.5504108664821580e-2)
    p = p * r + f32(2.4022650695910072e-1)
    p = p * r + f32(6.9314718055994531e-1)
    p = p * r + f32(1)
    return p * _power_of_two(whole)


@njit(inline='always', fastmath=_FAST)
def _softplus(x):
    """log(1 + exp(x)): max(x, 0) + 2 artanh(s), s = e / (e + 2) <= 1/3, e = exp(-|x|); small ones keep all digits."""
    e = _exp2(-abs(x) * LOG2E)
    s = e / (e + f32(2))
    q = s * s
    p = f32(1 / 15)
    p = p * q + f32(1 / 13)
    p = p * q + f32(1 / 11)
    p = p * q + f32(1 / 9)
    p = p * q + f32(1 / 7)
    p = p * q + f32(1 / 5)
    p = p * q + f32(1 / 3)
    p = p * q + f32(1)
    return (f32(0) if x < f32(0) else x) + f32(2) * s * p


@njit(inline='always', fastmath=_FAST)
def _slope(dt):
    """The derivative of a softplus whose value is dt: 1 - exp(-dt), a small one by its series."""
    series = dt * (f32(1) - dt * (f32(1 / 2) - dt * (f32(1 / 6) - dt * f32(1 / 24))))
    return series if dt < f32(.03) else f32(1) - _exp2(-dt * LOG2E)


@njit(inline='always', fastmath=_FAST)
def _step_sizes(delta, bias, softplus, keep, dt, width):
    """dt = Δ of one token."""
    if not keep:
        for c in range(width):
            dt[c] = f32(0)
    elif softplus:
        for c in range(width):
            dt[c] = _softplus(delta[c] + bias[c])
    else:
        for c in range(width):
            dt[c] = delta[c] + bias[c]


@functools.cache
def compiled(state: int, width: int, cached: bool) -> tuple[Callable, Callable]:
    """The forward's and the backward's loop, in which the numbers are constants.

    A loop runs over items, which are blocks of channels of the sequences, sequence by sequence. The states that the
    forward leaves for the backward lie segment by segment, and in these block by block.

    Args:
        state: states of a channel.
        width: channels that a loop owns; it divides the number of all.
        cached: whether the compiled code is kept on the disk.
    """
    N, W, T = state, width, STEPS
    options = dict(nogil=True, cache=cached, fastmath=_FAST, error_model='numpy')

    @njit(**options)
    def forward(first_item, last_item, length, channels, u, u_row, u_token, delta, delta_row, delta_token, A,
                B, B_row, B_token, C, C_row, C_token, D, bias, softplus, mask, y, starts):
        blocks, segments = channels // W, (length + T - 1) // T
        h, a, dt, dx, total = (np.empty(N * W, np.float32), np.empty(N * W, np.float32), np.empty(W, np.float32),
                               np.empty(W, np.float32), np.empty(W, np.float32))
        for item in range(first_item, last_item):
            b, first = item // blocks, item % blocks * W
            skip, bias_c = D[first:first + W], bias[first:first + W]
            h[:] = f32(0)
            for n in range(N):
                for c in range(W):
                    a[n * W + c] = A[(first + c) * N + n] * LOG2E
            for t in range(length):
                if t % T == 0 and len(starts):
                    at = ((b * segments + t // T) * blocks + item % blocks) * N * W
                    starts[at:at + N * W] = h
                at = b * delta_row + t * delta_token + first
                _step_sizes(delta[at:at + W], bias_c, softplus, len(mask) == 0 or mask[b * length + t], dt, W)
                at = b * u_row + t * u_token + first
                x = u[at:at + W]
                for c in range(W):
                    dx[c] = dt[c] * x[c]
                    total[c] = skip[c] * x[c]
                for n in range(N):
                    B_n, C_n = B[b * B_row + t * B_token + n], C[b * C_row + t * C_token + n]
                    a_n, h_n = a[n * W:(n + 1) * W], h[n * W:(n + 1) * W]
                    for c in range(W):
                        after = _exp2(dt[c] * a_n[c]) * h_n[c] + dx[c] * B_n
                        h_n[c] = after
                        total[c] += after * C_n
                at = (b * length + t) * channels + first
                y[at:at + W] = total

    # Where each part lies in its array.
    DT, DX, DY, DINPUT, DDT, SUM_D, SUM_BIAS = range(0, 7 * W, W)
    G, SUM_A = N * W, 2 * N * W
    AFTER, DECAY = N * W, (T + 1) * N * W

    @njit(**options)
    def backward(first_item, last_item, batch, length, channels, dy, dy_row, dy_token, u, u_row, u_token,
                 delta, delta_row, delta_token, A, B, B_row, B_token, C, C_row, C_token, D, bias, softplus, mask,
                 starts, du, ddelta, dA, dB, dC, dD, dbias):
        blocks, segments = channels // W, (length + T - 1) // T
        rows = np.empty(7 * W, np.float32)  # of a token: a value for each channel
        states = np.empty(3 * N * W, np.float32)  # of a sequence: A, the gradient of h, the sum that becomes dA
        past = np.empty((2 * T + 1) * N * W, np.float32)  # of a segment: h before each token, and after it; its decays
        dt = np.empty((T, W), np.float32)
        for item in range(first_item, last_item):
            b, block = item // blocks, item % blocks
            first = block * W
            skip, bias_c = D[first:first + W], bias[first:first + W]
            states[G:SUM_A] = f32(0)
            for n in range(N):
                for c in range(W):
                    states[n * W + c] = A[(first + c) * N + n]
            for segment in range(segments - 1, -1, -1):
                begin, steps = segment * T, min(T, length - segment * T)
                at = ((b * segments + segment) * blocks + block) * N * W
                past[:N * W] = starts[at:at + N * W]
                states[SUM_A:] = f32(0)
                rows[SUM_D:] = f32(0)
                for i in range(steps):  # the states again
                    t = begin + i
                    dt_i = dt[i]
                    at = b * delta_row + t * delta_token + first
                    _step_sizes(delta[at:at + W], bias_c, softplus, len(mask) == 0 or mask[b * length + t], dt_i, W)
                    at = b * u_row + t * u_token + first
                    x = u[at:at + W]
                    for c in range(W):
                        rows[DT + c] = dt_i[c] * LOG2E
                        rows[DX + c] = dt_i[c] * x[c]
                    for n in range(N):
                        B_n, a_n, past_n = B[b * B_row + t * B_token + n], states[n * W:], past[(i * N + n) * W:]
                        for c in range(W):
                            decay = _exp2(rows[DT + c] * a_n[c])
                            past_n[DECAY + c] = decay
                            past_n[AFTER + c] = decay * past_n[c] + rows[DX + c] * B_n
                for i in range(steps - 1, -1, -1):
                    t = begin + i
                    dt_i = dt[i]
                    at, at_dy = b * u_row + t * u_token + first, b * dy_row + t * dy_token + first
                    x, dy_t = u[at:at + W], dy[at_dy:at_dy + W]
                    for c in range(W):
                        rows[DT + c] = dt_i[c]
                        rows[DX + c] = dt_i[c] * x[c]
                        rows[DY + c] = dy_t[c]
                        rows[DINPUT + c] = f32(0)
                        rows[DDT + c] = f32(0)
                    at_sum = ((block * batch + b) * length + t) * N
                    for n in range(N):
                        B_n, C_n = B[b * B_row + t * B_token + n], C[b * C_row + t * C_token + n]
                        state, past_n = states[n * W:], past[(i * N + n) * W:]
                        dB_n, dC_n = f32(0), f32(0)
                        for c in range(W):
                            g = state[G + c] + C_n * rows[DY + c]
                            dC_n += past_n[AFTER + c] * rows[DY + c]
                            dB_n += g * rows[DX + c]
                            rows[DINPUT + c] += g * B_n
                            g *= past_n[DECAY + c]
                            state[G + c] = g
                            dexponent = g * past_n[c]  # of Δ A
                            rows[DDT + c] += dexponent * state[c]
                            state[SUM_A + c] += dexponent * rows[DT + c]
                        dB[at_sum + n], dC[at_sum + n] = dB_n, dC_n
                    keep = f32(1) if len(mask) == 0 or mask[b * length + t] else f32(0)
                    at = (b * length + t) * channels + first
                    du_t, ddelta_t = du[at:at + W], ddelta[at:at + W]
                    for c in range(W):
                        rows[DDT + c] += rows[DINPUT + c] * x[c]
                        rows[SUM_D + c] += rows[DY + c] * x[c]
                        du_t[c] = rows[DINPUT + c] * rows[DT + c] + skip[c] * rows[DY + c]
                    if softplus:
                        for c in range(W):
                            rows[DDT + c] *= _slope(rows[DT + c])
                    for c in range(W):
                        grad = rows[DDT + c] * keep
                        ddelta_t[c] = grad
                        rows[SUM_BIAS + c] += grad
                at = b * channels + first
                for c in range(W):
                    dD[at + c] += rows[SUM_D + c]
                    dbias[at + c] += rows[SUM_BIAS + c]
                for n in range(N):
                    for c in range(W):
                        dA[(at + c) * N + n] += states[SUM_A + n * W + c]

    return forward, backward
