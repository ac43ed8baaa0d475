"""The kernels of the Triton selective scan.

A program is one warp on BLOCK channels of one sequence: each thread owns BLOCK / 32 channels and has T consecutive
tokens (a tile) of them in registers, as a tuple of T vectors. Loads are coalesced along the channels and all of a
tile's are in flight together; the recurrence runs inside a thread, state by state, without any exchange. Only dB and
dC, sums over channels, need one; they leave as a partial sum per block of channels, added up in a fixed order.

Bytes per token and channel, with activations of s bytes, N states, tiles of T tokens and chunks of K tiles; the floor
is 3 s forward (u, delta, y) and 5 s backward (u, delta, dy, du, ddelta), plus B, C and their gradients, which all
channels share. At s = 2, N = 8, T = 16 the floors are 6 and 10:

==============  ======================================================  ==============
kernel          bytes                                                   s 2, N 8, T 16
==============  ======================================================  ==============
scan_tiles      3 s + 4 N / T (the states at tile starts, which         8
                inference leaves out), read or written
... ENDS        2 s + 4 (N + 1) / (K T), of several chunks              4 + 2.3 / K
chain           4 (2 N + 1) / (K T), of several chunks                  4.3 / K
reverse_ends    2 s + 4 (N + 1) / T                                     6.3
chain           4 (2 N + 1) / T                                         4.3
scan_gradients  5 s + 8 N / T, + 4 (N + 2) / T for dA, dD, dbias        16.5
                + 8 N / BLOCK for dB, dC                                + 2
sum_blocks      8 N / BLOCK                                             2
==============  ======================================================  ==============

Each (token, channel, state) costs one exponential per pass, and a pass is bound by those (16 a clock and
multiprocessor) about as much as by memory. B and C are read through the cache, an element for all channels of a warp.

Every offset that grows with batch or length is 64-bit. Arguments aren't specialised on their value or alignment, since
accesses are one element per thread anyway: each kernel compiles once per dtypes, state size and set of options. These
are the same everywhere:

- N states, T tokens a tile, BLOCK channels a program, all as numbers; SOFTPLUS as in `selective_scan`;
- B_ROW, C_ROW: elements from one token's B or C to the next. Being constants they cost no registers;
- length: T or more. The last tile ends where the sequence does, and skips the tokens that the one before it has:
  nothing is read past the end, and what isn't there needs no mask per state;
- x_batch, x_row: elements from one sequence or token of x to the next; D, bias and mask may be None.
"""
# ruff: noqa: RUF005 -- the compiler knows no unpacking
import os

import triton
import triton.language as tl

if not hasattr(tl, 'tuple'):
    raise ImportError(f'its version is {triton.__version__}, 3.3 or later is needed')

INTERPRETED = os.environ.get('TRITON_INTERPRET', '0').lower() in ('1', 'true', 'yes', 'on')  # as Triton reads it now
LOG2E = tl.constexpr(1.4426950408889634)
STATIC_STATES = tl.constexpr(8)  # up to so many, a program keeps its states in registers from tile to tile


@triton.jit
def softplus(x):
    """log(1 + exp(x)), to float32's last digits also where it is small, and without overflow."""
    # log1p(e) = 2 artanh(e / (2 + e)), whose argument is at most 1/3: tl has no log1p, and log(1 + e) loses digits.
    e = tl.exp2(-tl.abs(x) * LOG2E)
    s = e / (2 + e)
    q = s * s
    series = 1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q * (1 / 13 + q / 15))))))
    return tl.maximum(x, 0) + 2 * s * series


@triton.jit
def softplus_slope(y):
    """The derivative of softplus from its value: 1 - exp(-y), to the last digits also where y is small; 0 at 0."""
    small = y * (1 - y / 2 * (1 - y / 3 * (1 - y / 4 * (1 - y / 5 * (1 - y / 6 * (1 - y / 7))))))
    return tl.where(y < 0.35, small, 1 - tl.exp2(-y * LOG2E))


@triton.jit
def place(tile, length, T: tl.constexpr):
    """First token of a tile, 64-bit, and how many to skip from there: the last tile ends where the sequence does."""
    token = tl.minimum(tile.to(tl.int64) * T, length - T)
    return token, (tile * T - token).to(tl.int32)


@triton.jit
def load_rows(pointers, stride, skip, inside, T: tl.constexpr):
    """A tile as a tuple of T float32 vectors, zero at the tokens to skip; `pointers` to its first row."""
    tile = ()
    for t in tl.static_range(T):
        tile = tile + (tl.load(pointers, mask=inside & (t >= skip), other=0).to(tl.float32),)
        pointers += stride  # and not t * stride, which would stay in registers from tile to tile
    return tile


@triton.jit
def load_steps(delta, delta_row, bias, mask, mask_row, skip, inside, T: tl.constexpr, SOFTPLUS: tl.constexpr):
    """The step sizes of a tile, exactly 0 at masked tokens and those to skip; `bias` is a vector or None."""
    raw = load_rows(delta, delta_row, skip, inside, T)
    steps = ()
    for t in tl.static_range(T):
        step = raw[t]
        if bias is not None:
            step += bias
        if SOFTPLUS:
            step = softplus(step)
        real = t >= skip
        if mask is not None:
            real = real & (tl.load(mask) != 0)
            mask += mask_row
        steps = steps + (tl.where(real, step, 0),)
    return steps


@triton.jit
def scan_state(h, n, A, B, C, dt, x, y, inside, B_ROW: tl.constexpr, C_ROW: tl.constexpr, T: tl.constexpr,
               ENDS: tl.constexpr):
    """State n through a tile, from h; C · h is added to y, unless ENDS. Returns the state at the end, and y."""
    a = tl.load(A + n, mask=inside, other=0) * LOG2E
    out = ()
    for t in tl.static_range(T):
        h = tl.exp2(dt[t] * a) * h + x[t] * tl.load(B + t * B_ROW + n).to(tl.float32)
        if not ENDS:
            out = out + (y[t] + h * tl.load(C + t * C_ROW + n).to(tl.float32),)
    return h, y if ENDS else out


@triton.jit(do_not_specialize=[
    'u', 'delta', 'A', 'B', 'C', 'D', 'bias', 'mask', 'y', 'starts', 'sums', 'u_batch', 'u_row', 'delta_batch',
    'delta_row', 'B_batch', 'C_batch', 'mask_batch', 'mask_row', 'y_batch', 'y_row', 'length', 'channels', 'chunks',
    'chunk_tiles'])
def scan_tiles(u, delta, A, B, C, D, bias, mask, y, starts, sums, u_batch, u_row, delta_batch, delta_row, B_batch,
               C_batch, mask_batch, mask_row, y_batch, y_row, length, channels, chunks, chunk_tiles,
               B_ROW: tl.constexpr, C_ROW: tl.constexpr, N: tl.constexpr, T: tl.constexpr, BLOCK: tl.constexpr,
               SOFTPLUS: tl.constexpr, ENDS: tl.constexpr, KEEP: tl.constexpr):
    """Scan every chunk from its true start, tile by tile: fill y, and `starts` for all tiles but the chunks' first.

    ENDS: from a zero state instead, without y; the last chunk is left out. Its end goes to where the next chunk's start
    belongs, and the sum of its step sizes to `sums`.

    Shapes: starts ``(batch, tiles - 1, N, channels)``, from the second tile on, or without KEEP, for inference, of
    chunks - 1, from the second chunk on; sums ``(batch, chunks - 1, channels)``.
    With more than STATIC_STATES states, a chunk is one tile. Grid: batch · chunks (- 1 if ENDS) · blocks of channels.
    """
    blocks = tl.cdiv(channels, BLOCK)
    runs = chunks - 1 if ENDS else chunks
    pid = tl.program_id(0)
    chunk = pid // blocks % runs
    row = (pid // blocks // runs).to(tl.int64)
    first = chunk.to(tl.int64) * chunk_tiles
    c = pid % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = c < channels
    u += row * u_batch + c
    delta += row * delta_batch + c
    B += row * B_batch
    C += row * C_batch
    y += row * y_batch + c
    A += c * N
    tiles = tl.cdiv(length, T)
    state = starts + (row * (tiles - 1) + first - 1 if KEEP else row * (chunks - 1) + chunk - 1) * N * channels + c
    if mask is not None:
        mask += row * mask_batch
    if D is not None:
        D = tl.load(D + c, mask=inside, other=0).to(tl.float32)
    if bias is not None:
        bias = tl.load(bias + c, mask=inside, other=0).to(tl.float32)

    total = tl.zeros((BLOCK,), tl.float32)
    hs = ()
    known = inside & (first > 0 and not ENDS)
    for n in tl.static_range(N if N <= STATIC_STATES else 0):
        hs = hs + (tl.load(state + n * channels, mask=known, other=0),)
    for i in range(tl.minimum(tiles - first, chunk_tiles).to(tl.int32)):
        token, skip = place(first + i, length, T)
        us = load_rows(u + token * u_row, u_row, skip, inside, T)
        dt = load_steps(delta + token * delta_row, delta_row, bias, None if mask is None else mask + token * mask_row,
                        mask_row, skip, inside, T, SOFTPLUS)
        Bs = B + token * B_ROW
        Cs = C + token * C_ROW
        x = ()
        ys = ()
        for t in tl.static_range(T):
            x = x + (us[t] * dt[t],)
            ys = ys + (us[t] * D if D is not None else tl.zeros_like(us[t]),)
            total += dt[t]
        if N <= STATIC_STATES:
            ends = ()
            for n in tl.static_range(N):
                if KEEP and not ENDS:
                    tl.store(state + n * channels, hs[n], mask=inside & (i > 0))
                h, ys = scan_state(hs[n], n, A, Bs, Cs, dt, x, ys, inside, B_ROW, C_ROW, T, ENDS)
                ends = ends + (h,)
            hs = ends
        else:
            for n in range(N):
                h = tl.load(state + n * channels, mask=known, other=0)
                h, ys = scan_state(h, n, A, Bs, Cs, dt, x, ys, inside, B_ROW, C_ROW, T, ENDS)
                if ENDS:
                    tl.store(state + (N + n) * channels, h, mask=inside)
        if not ENDS:
            out = y + token * y_row
            for t in tl.static_range(T):
                tl.store(out, ys[t].to(y.dtype.element_ty), mask=inside & (t >= skip))
                out += y_row
        if KEEP:
            state += N * channels
    if ENDS:
        if not KEEP:
            state += N * channels
        for n in tl.static_range(N if N <= STATIC_STATES else 0):
            tl.store(state + n * channels, hs[n], mask=inside)
        tl.store(sums + (row * runs + chunk) * channels + c, total, mask=inside)


@triton.jit(do_not_specialize=['states', 'sums', 'A', 'count', 'between', 'states_batch', 'channels'])
def chain(states, sums, A, count, between, states_batch, channels, N: tl.constexpr, ROWS: tl.constexpr,
          BLOCK: tl.constexpr, REVERSE: tl.constexpr):
    """Chain local states in place: states[j] += exp(A sums[j]) states[j - 1], from the first; REVERSE: j + 1, the last.

    `between`: elements from one state to the next. The sum of step sizes is carried, not the product of decays, which
    would underflow sooner. Grid: batch · N · blocks of channels.
    """
    blocks = tl.cdiv(channels, BLOCK)
    pid = tl.program_id(0)
    n = pid // blocks % N
    row = (pid // blocks // N).to(tl.int64)
    c = pid % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = c < channels
    a = tl.load(A + c * N + n, mask=inside, other=0) * LOG2E
    states += row * states_batch + n * channels + c
    sums += row * count * channels + c
    if REVERSE:
        states += (count.to(tl.int64) - 1) * between
        sums += (count.to(tl.int64) - 1) * channels
        between = -between
    width = -channels if REVERSE else channels
    carry = tl.zeros((BLOCK,), tl.float32)
    read = states
    for j in range(0, count, ROWS):
        local = ()
        decays = ()
        for t in tl.static_range(ROWS):  # all loads before any store, so that they're in flight together
            there = inside & (j + t < count)
            local = local + (tl.load(read, mask=there, other=0),)
            decays = decays + (tl.exp2(a * tl.load(sums, mask=there, other=0)),)
            read += between
            sums += width
        for t in tl.static_range(ROWS):
            carry = decays[t] * carry + local[t]
            tl.store(states, carry, mask=inside & (j + t < count))
            states += between


@triton.jit(do_not_specialize=[
    'dy', 'delta', 'A', 'C', 'bias', 'mask', 'ends', 'sums', 'dy_batch', 'dy_row', 'delta_batch', 'delta_row',
    'C_batch', 'mask_batch', 'mask_row', 'length', 'channels'])
def reverse_ends(dy, delta, A, C, bias, mask, ends, sums, dy_batch, dy_row, delta_batch, delta_row, C_batch, mask_batch,
                 mask_row, length, channels, C_ROW: tl.constexpr, N: tl.constexpr, T: tl.constexpr,
                 BLOCK: tl.constexpr, SOFTPLUS: tl.constexpr):
    """Scan the gradient of the state backwards through every tile but the first, from zero.

    What arrives at tile i + 1's start goes to ends[:, i], ``(batch, tiles - 1, N, channels)``, and its step sizes' sum
    to sums[:, i], ``(batch, tiles - 1, channels)``. Grid: batch · (tiles - 1) · blocks of channels.
    """
    blocks = tl.cdiv(channels, BLOCK)
    runs = tl.cdiv(length, T) - 1
    pid = tl.program_id(0)
    row = (pid // blocks // runs).to(tl.int64)
    i = pid // blocks % runs
    c = pid % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = c < channels
    token, skip = place(i + 1, length, T)
    dy += row * dy_batch + token * dy_row + c
    delta += row * delta_batch + token * delta_row + c
    C += row * C_batch + token * C_ROW
    ends += (row * runs + i) * N * channels + c
    if mask is not None:
        mask += row * mask_batch + token * mask_row
    if bias is not None:
        bias = tl.load(bias + c, mask=inside, other=0).to(tl.float32)

    dys = load_rows(dy, dy_row, skip, inside, T)
    dt = load_steps(delta, delta_row, bias, mask, mask_row, skip, inside, T, SOFTPLUS)
    total = tl.zeros((BLOCK,), tl.float32)
    for t in tl.static_range(T):
        total += dt[t]
    tl.store(sums + (row * runs + i) * channels + c, total, mask=inside)
    for n in range(N):
        a = tl.load(A + c * N + n, mask=inside, other=0) * LOG2E
        g = tl.zeros((BLOCK,), tl.float32)
        for t in tl.static_range(T - 1, -1, -1):
            g = tl.exp2(dt[t] * a) * (g + dys[t] * tl.load(C + t * C_ROW + n).to(tl.float32))
        tl.store(ends + n * channels, g, mask=inside)


@triton.jit(do_not_specialize=[
    'dy', 'u', 'delta', 'A', 'B', 'C', 'D', 'bias', 'mask', 'starts', 'ends', 'du', 'ddelta', 'shared', 'sums',
    'dy_batch', 'dy_row', 'u_batch', 'u_row', 'delta_batch', 'delta_row', 'B_batch', 'C_batch', 'mask_batch',
    'mask_row', 'du_batch', 'du_row', 'ddelta_batch', 'ddelta_row', 'batch', 'length', 'channels'])
def scan_gradients(dy, u, delta, A, B, C, D, bias, mask, starts, ends, du, ddelta, shared, sums, dy_batch, dy_row,
                   u_batch, u_row, delta_batch, delta_row, B_batch, C_batch, mask_batch, mask_row, du_batch, du_row,
                   ddelta_batch, ddelta_row, batch, length, channels, B_ROW: tl.constexpr, C_ROW: tl.constexpr,
                   N: tl.constexpr, T: tl.constexpr, BLOCK: tl.constexpr, SOFTPLUS: tl.constexpr):
    """All gradients, tile by tile, from the states at tile starts and the states' gradients at tile ends.

    With g_t the gradient of h_t, g_t = C_t dy_t + a_{t+1} g_{t+1}, where a_t = exp(Δ_t A); that of Δ_t A is
    g_t a_t h_{t-1}. Fills du and ddelta; shared ``(blocks of channels, 2, batch, length, N)`` with dB's and dC's parts;
    sums ``(batch · tiles, N + 2, channels)`` with those of dA, dD and ddelta_bias.
    Grid: batch · tiles · blocks of channels.
    """
    blocks = tl.cdiv(channels, BLOCK)
    tiles = tl.cdiv(length, T)
    pid = tl.program_id(0)
    i = pid // blocks % tiles
    row = (pid // blocks // tiles).to(tl.int64)
    c = pid % blocks * BLOCK + tl.arange(0, BLOCK)
    inside = c < channels
    token, skip = place(i, length, T)
    dy += row * dy_batch + token * dy_row + c
    u += row * u_batch + token * u_row + c
    delta += row * delta_batch + token * delta_row + c
    du += row * du_batch + token * du_row + c
    ddelta += row * ddelta_batch + token * ddelta_row + c
    B += row * B_batch + token * B_ROW
    C += row * C_batch + token * C_ROW
    if mask is not None:
        mask += row * mask_batch + token * mask_row
    if D is not None:
        D = tl.load(D + c, mask=inside, other=0).to(tl.float32)
    if bias is not None:
        bias = tl.load(bias + c, mask=inside, other=0).to(tl.float32)
    end = ends + (row * (tiles - 1) + i) * N * channels + c
    start = starts + (row * (tiles - 1) + i - 1) * N * channels + c
    sums += (row * tiles + i) * (N + 2) * channels + c
    dB = shared + ((pid % blocks * 2 * batch + row) * length + token) * N
    dC = dB + batch.to(tl.int64) * length * N

    dys = load_rows(dy, dy_row, skip, inside, T)
    us = load_rows(u, u_row, skip, inside, T)
    dt = load_steps(delta, delta_row, bias, mask, mask_row, skip, inside, T, SOFTPLUS)
    dx = ()
    ddt = ()
    for _ in tl.static_range(T):
        dx = dx + (tl.zeros((BLOCK,), tl.float32),)
        ddt = ddt + (tl.zeros((BLOCK,), tl.float32),)
    for n in range(N):
        a = tl.load(A + c * N + n, mask=inside, other=0)
        h = tl.load(start + n * channels, mask=inside & (i > 0), other=0)
        decays = ()
        before = ()
        for t in tl.static_range(T):
            decay = tl.exp2(dt[t] * (a * LOG2E))
            decays = decays + (decay,)
            before = before + (h,)
            h = decay * h + tl.load(B + t * B_ROW + n).to(tl.float32) * us[t] * dt[t]  # no product to keep
            tl.store(dC + t * N + n, tl.sum(h * dys[t], 0), mask=t >= skip)
        g = tl.load(end + n * channels, mask=inside & (i + 1 < tiles), other=0)
        dA = tl.zeros((BLOCK,), tl.float32)
        new_dx = ()
        new_ddt = ()
        for t in tl.static_range(T - 1, -1, -1):
            g += dys[t] * tl.load(C + t * C_ROW + n).to(tl.float32)
            tl.store(dB + t * N + n, tl.sum(g * us[t] * dt[t], 0), mask=t >= skip)
            new_dx = (dx[t] + g * tl.load(B + t * B_ROW + n).to(tl.float32),) + new_dx
            g *= decays[t]
            exponent = g * before[t]
            new_ddt = (ddt[t] + exponent * a,) + new_ddt
            dA += exponent * dt[t]
        dx = new_dx
        ddt = new_ddt
        tl.store(sums + n * channels, dA, mask=inside)

    dD = tl.zeros((BLOCK,), tl.float32)
    dbias = tl.zeros((BLOCK,), tl.float32)
    for t in tl.static_range(T):
        there = inside & (t >= skip)
        dut = dx[t] * dt[t]
        if D is not None:
            dut += dys[t] * D
            dD += dys[t] * us[t]
        tl.store(du, dut.to(du.dtype.element_ty), mask=there)
        ddelta_t = ddt[t] + dx[t] * us[t]
        if SOFTPLUS:
            ddelta_t *= softplus_slope(dt[t])  # not from delta again, whose addresses would fill registers
        elif mask is not None:
            ddelta_t = tl.where(tl.load(mask + t * mask_row) != 0, ddelta_t, 0)
        dbias += tl.where(t >= skip, ddelta_t, 0)
        tl.store(ddelta, ddelta_t.to(ddelta.dtype.element_ty), mask=there)
        du += du_row
        ddelta += ddelta_row
    tl.store(sums + N * channels, dD, mask=inside)
    tl.store(sums + (N + 1) * channels, dbias, mask=inside)


@triton.jit(do_not_specialize=['shared', 'dB', 'dC', 'dB_batch', 'dB_row', 'dC_batch', 'dC_row', 'blocks', 'batch',
                               'length'])
def sum_blocks(shared, dB, dC, dB_batch, dB_row, dC_batch, dC_row, blocks, batch, length, N: tl.constexpr,
               SIZE: tl.constexpr):
    """Add up `scan_gradients`'s `shared` over the blocks of channels. Grid: batch · length · N over SIZE."""
    size = batch.to(tl.int64) * length * N
    at = tl.program_id(0).to(tl.int64) * SIZE + tl.arange(0, SIZE)
    inside = at < size
    b = tl.zeros((SIZE,), tl.float32)
    c = tl.zeros((SIZE,), tl.float32)
    for k in range(blocks):
        b += tl.load(shared + 2 * k * size + at, mask=inside, other=0)
        c += tl.load(shared + (2 * k + 1) * size + at, mask=inside, other=0)
    n = at % N
    token = at // N % length
    row = at // N // length
    tl.store(dB + row * dB_batch + token * dB_row + n, b.to(dB.dtype.element_ty), mask=inside)
    tl.store(dC + row * dC_batch + token * dC_row + n, c.to(dC.dtype.element_ty), mask=inside)
