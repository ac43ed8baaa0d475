"""Selective scan in chunks, in plain PyTorch: any device, bounded memory, with a backward of its own.

A step-by-step scan has too little work per step. Here the sequence is cut into chunks of T steps, and K chunks (and
several sequences) take their steps together, so that each of the T steps is one operation on a slab of
``(sequences, K, state, channels)`` that fits in cache:

1. every chunk is scanned from a zero state, which gives the state at its end;
2. the K end states are chained, each decayed by its chunk's total, ``exp(A ΣΔ)``: the true state at each chunk's start;
3. every chunk is scanned again from its true start.

A group of K chunks is a segment; segments follow each other in a loop that carries the state, so memory and time per
token don't depend on the length: whatever is done to a token, the softplus and D's term too, is done while its segment
is in cache. Where sequences are many enough to fill a slab, K is 1 and only step 3 remains. The
forward keeps the state at each chunk's start, ``state / T`` times the size of u; the backward recomputes the rest.
"""
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .operators import exporting, graph_size, outside_autocast, register_gradient
from .reference import state_dtype, step_sizes

SLAB = 2**15  # elements per step: with T steps and three buffers, a working set near the size of one core's cache
STEPS = range(16, 22)  # lengths of a chunk to choose from: the one that pads least


@dataclass(frozen=True)
class Plan:
    """How a scan of ``(batch, length, channels, state)`` is cut.

    Blocks of `sequences` follow each other; each is cut into `segments` of `chunks` of `steps` tokens.
    """
    sequences: int
    segments: int
    chunks: int
    steps: int

    @classmethod
    def make(cls, batch: int, length: int, channels: int, state: int) -> 'Plan':
        width = max(1, channels * state)
        sequences = max(1, min(batch, SLAB // width))
        sequences = -(-batch // -(-batch // sequences)) if batch else 1  # blocks of even size
        max_chunks = max(1, SLAB // (width * sequences))

        def cut(steps):
            segments = max(1, -(-length // (max_chunks * steps)))
            return cls(sequences, segments, max(1, -(-length // (segments * steps))), steps)

        return min((cut(max(1, min(steps, length))) for steps in STEPS), key=lambda plan: (plan.padded, -plan.steps))

    @property
    def padded(self) -> int:
        return self.segments * self.segment

    @property
    def segment(self) -> int:
        """Tokens in a segment."""
        return self.chunks * self.steps

    def blocks(self, batch: int, reverse: bool = False):
        """(index, rows, tokens) of every segment of every block of sequences, segment by segment within a block."""
        order = range(self.segments)
        for row in range(0, batch, self.sequences):
            for s in reversed(order) if reverse else order:
                yield s, slice(row, row + self.sequences), slice(s * self.segment, (s + 1) * self.segment)

    def cut(self, x: Tensor) -> Tensor:
        """One segment, (sequences, tokens, ·) -> (steps, sequences, chunks, ·).

        The last segment is filled up with zeros: where Δ is 0, the state passes through.
        """
        missing = self.segment - x.shape[1]
        if missing:
            x = torch.nn.functional.pad(x, (0, 0, 0, missing))
        return x.unflatten(1, (self.chunks, self.steps)).permute(2, 0, 1, 3)

    @staticmethod
    def join(x: Tensor, tokens: int) -> Tensor:
        """The inverse of `cut`."""
        return x.permute(1, 2, 0, 3).flatten(1, 2)[:, :tokens]


def _decay_and_input(dt: Tensor, x: Tensor, A_t: Tensor, B: Tensor, a: Tensor, h: Tensor) -> None:
    """Fill a with exp(Δ_t A) and h[1:] with Δ_t x_t B_t, for one segment."""
    torch.mul(dt.unsqueeze(-2), A_t, out=a).exp_()
    torch.mul((dt * x).unsqueeze(-2), B.unsqueeze(-1), out=h[1:])


def _recur(a: Tensor, h: Tensor) -> None:
    """h[t + 1] += a[t] h[t], step by step."""
    states = h.unbind()  # all views in one call: with an index each they would cost as much as the steps
    for a_t, before, after in zip(a.unbind(), states, states[1:]):
        torch.addcmul(after, a_t, before, out=after)


def _total_decay(dt: Tensor, A_t: Tensor) -> Tensor:
    """exp(A ΣΔ) over each chunk. The sum is carried, not the product of exponentials, which would underflow sooner."""
    return torch.exp(dt.sum(0).unsqueeze(-2) * A_t)


def _step_sizes(delta: Tensor, delta_bias: Tensor | None, delta_softplus: bool, mask: Tensor | None,
                dtype: torch.dtype) -> Tensor:
    """`step_sizes`, on a CPU with a softplus that takes a third of the time: PyTorch's log1p takes seven exponentials'.

    log(1 + exp(x)) = max(x, 0) + 2 artanh(s), s = e / (e + 2) <= 1/3, e = exp(-|x|): small ones keep all their digits.
    """
    if not delta_softplus or dtype != torch.float32 or delta.device.type != 'cpu':
        return step_sizes(delta, delta_bias, delta_softplus, mask, dtype)
    x = step_sizes(delta, delta_bias, False, None, dtype)
    e = x.abs().neg_().exp_()
    s = e / (e + 2)
    square = s * s
    series = square * (1 / 15)
    for n in (13, 11, 9, 7, 5, 3):
        series.add_(1 / n).mul_(square)
    return step_sizes(series.add_(1).mul_(s).mul_(2).add_(x.clamp_min(0)), None, False, mask, dtype)


class _Buffers(dict):
    """Work space by name and shape, reused from segment to segment, so that it stays in cache."""

    def __call__(self, name: str, like: Tensor, *shape: int) -> Tensor:
        if self.get(name) is None or self[name].shape != shape:
            self[name] = like.new_empty(shape)
        return self[name]


def _forward_segment(x, dt, A_t, B, C, carry, starts, buffers) -> tuple[Tensor, Tensor]:
    """One segment of the scan.

    Args:
        x, dt: ``(steps, sequences, chunks, channels)``. B, C: ``(steps, sequences, chunks, state)``.
        A_t: ``(state, channels)``.
        carry: the state before the segment, ``(sequences, state, channels)``.
        starts: gets the state before each chunk, ``(sequences, chunks, state, channels)``.

    Returns:
        y, shaped as x, and the state after the segment.
    """
    steps, chunks = x.shape[0], x.shape[2]
    a, h = buffers('a', x, steps, *starts.shape), buffers('h', x, steps + 1, *starts.shape)
    _decay_and_input(dt, x, A_t, B, a, h)
    if chunks == 1:
        h[0, :, 0] = carry
    else:
        end = h[1].clone()
        for a_t, input_t in zip(a[1:].unbind(), h[2:].unbind()):
            torch.addcmul(input_t, a_t, end, out=end)
        befores = h[0].unbind(1)
        befores[0].copy_(carry)
        for before, after, end_k, total in zip(befores, befores[1:], end.unbind(1), _total_decay(dt, A_t).unbind(1)):
            torch.addcmul(end_k, total, before, out=after)
    starts.copy_(h[0])
    _recur(a, h)
    return torch.matmul(C.unsqueeze(-2), h[1:]).squeeze(-2), h[steps, :, -1].clone()


def _backward_segment(dy, x, dt, A_t, B, C, carry, starts, buffers) -> tuple[Tensor, ...]:
    """The gradients of `_forward_segment`: dx, ddt, dB, dC, dA_t, and that of the state before the segment.

    `carry` is the gradient of the state after the segment. With g_t the gradient of h_t,
    g_t = C_t dy_t + exp(Δ_{t+1} A) g_{t+1}: the same kind of scan, run backwards.
    """
    steps, chunks = x.shape[0], x.shape[2]
    a, h, g = (buffers(name, x, steps + (name == 'h'), *starts.shape) for name in 'ahg')
    _decay_and_input(dt, x, A_t, B, a, h)
    h[0] = starts
    _recur(a, h)
    torch.mul(dy.unsqueeze(-2), C.unsqueeze(-1), out=g)
    if chunks == 1:
        g[-1, :, 0] += carry
    else:
        first = g[-1].clone()
        for a_next, g_t in zip(reversed(a.unbind()), reversed(g[:-1].unbind())):
            torch.addcmul(g_t, a_next, first, out=first)
        first.mul_(a[0])
        for last, first_k, total in zip(*(reversed(x.unbind(1)) for x in (g[-1], first, _total_decay(dt, A_t)))):
            last += carry
            carry = torch.addcmul(first_k, total, carry)
    grads = g.unbind()
    for a_next, g_t, g_next in zip(reversed(a.unbind()), reversed(grads[:-1]), reversed(grads)):
        torch.addcmul(g_t, a_next, g_next, out=g_t)
    carry = a[0, :, 0] * g[0, :, 0]

    dC = torch.matmul(h[1:], dy.unsqueeze(-1)).squeeze(-1)
    dB = torch.matmul(g, (dt * x).unsqueeze(-1)).squeeze(-1)
    dinput = torch.matmul(B.unsqueeze(-2), g).squeeze(-2)  # the gradient of Δ_t x_t
    a.mul_(h[:-1]).mul_(g)  # the gradient of Δ_t A
    ddt = torch.mul(a, A_t, out=h[1:]).sum(-2).addcmul_(dinput, x)
    dA_t = a.mul_(dt.unsqueeze(-2)).sum((0, 1, 2))
    return dinput.mul_(dt), ddt, dB, dC, dA_t, carry


@torch.library.custom_op('mmvision_mamba::chunked_scan', mutates_args=())
@outside_autocast
def chunked_scan_op(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                    delta_bias: Tensor | None, delta_softplus: bool, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """y as in `selective_scan`, and the states that the backward starts from."""
    (batch, length, channels), state, dtype = u.shape, A.shape[1], state_dtype(u)
    plan, buffers, A_t = Plan.make(batch, length, channels, state), _Buffers(), A.t().to(dtype).contiguous()
    D = None if D is None else D.to(dtype)
    y = torch.empty(u.shape, dtype=u.dtype, device=u.device)
    starts = A_t.new_empty(plan.segments, batch, plan.chunks, state, channels)
    for s, rows, tokens in plan.blocks(batch if y.numel() else 0):
        x, B_s, C_s = (v[rows, tokens].to(dtype) for v in (u, B, C))
        dt = _step_sizes(delta[rows, tokens], delta_bias, delta_softplus, _slice(mask, rows, tokens), dtype)
        if s == 0:
            carry = x.new_zeros(len(x), state, channels)
        out, carry = _forward_segment(  # type: ignore[call-arg]
            *map(plan.cut, (x, dt)), A_t, *map(plan.cut, (B_s, C_s)), carry, starts[s, rows], buffers)
        out = plan.join(out, x.shape[1])
        if D is None:
            y[rows, tokens] = out
        elif y.dtype == dtype:
            torch.addcmul(out, x, D, out=y[rows, tokens])
        else:
            y[rows, tokens] = torch.addcmul(out, x, D)
    return y, starts


@torch.library.custom_op('mmvision_mamba::chunked_scan_backward', mutates_args=())
@outside_autocast
def chunked_scan_backward_op(dy: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                             delta_bias: Tensor | None, delta_softplus: bool, mask: Tensor | None,
                             starts: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """(du, ddelta, dA, dB, dC, dD, ddelta_bias); the last two count only where D and the bias are given."""
    (batch, length, channels), state, dtype = u.shape, A.shape[1], state_dtype(u)
    plan, buffers, A_t = Plan.make(batch, length, channels, state), _Buffers(), A.t().to(dtype).contiguous()
    du, ddelta, dB, dC = (torch.empty(v.shape, dtype=v.dtype, device=v.device) for v in (u, delta, B, C))
    dA_t, dD, dbias = torch.zeros_like(A_t), A_t.new_zeros(channels), A_t.new_zeros(channels)
    D = None if D is None else D.to(dtype)
    for s, rows, tokens in plan.blocks(batch if u.numel() else 0, reverse=True):
        dy_s, x, B_s, C_s = (v[rows, tokens].to(dtype) for v in (dy, u, B, C))
        mask_s = _slice(mask, rows, tokens)
        dt = _step_sizes(delta[rows, tokens], delta_bias, delta_softplus, mask_s, dtype)
        if s == plan.segments - 1:
            carry = x.new_zeros(len(x), state, channels)
        *grads, dA_s, carry = _backward_segment(  # type: ignore[call-arg]
            *map(plan.cut, (dy_s, x, dt)), A_t, *map(plan.cut, (B_s, C_s)), carry, starts[s, rows], buffers)
        dx, ddt, dB[rows, tokens], dC[rows, tokens] = (plan.join(grad, x.shape[1]) for grad in grads)
        if delta_softplus:
            ddt = ddt * -torch.expm1(-dt)  # softplus' = sigmoid = 1 - exp(-softplus); 0 where masked
        elif mask_s is not None:
            ddt = ddt.masked_fill(~mask_s.unsqueeze(-1), 0)
        if D is not None:
            dx = torch.addcmul(dx, dy_s, D)
            dD += (dy_s * x).sum((0, 1))
        if delta_bias is not None:
            dbias += ddt.sum((0, 1))
        du[rows, tokens], ddelta[rows, tokens] = dx, ddt
        dA_t += dA_s
    return du, ddelta, dA_t.t().to(A.dtype, memory_format=torch.contiguous_format), dB, dC, dD, dbias


def _slice(mask: Tensor | None, rows: slice, tokens: slice) -> Tensor | None:
    return None if mask is None else mask[rows, tokens]


@chunked_scan_op.register_fake
def _(u, delta, A, B, C, D, delta_bias, delta_softplus, mask):
    (batch, length, channels), state = u.shape, A.shape[1]
    plan = Plan.make(batch, length, channels, state)
    return u.new_empty(u.shape), u.new_empty(plan.segments, batch, plan.chunks, state, channels, dtype=state_dtype(u))


register_gradient(chunked_scan_op, chunked_scan_backward_op)


def chunked_scan(*args) -> Tensor:
    """`selective_scan` in chunks. While a graph is being exported it runs as plain operators, else as one operator."""
    return plain_chunked_scan(*args) if exporting() else chunked_scan_op(*args)[0]


EXPORT_STEPS = 16  # length of an exported chunk: nodes grow with it, and with the logarithm of the number of chunks
EXPORT_TOKENS = 2**16  # at most, where the length of an exported sequence is not known


def plain_chunked_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None,
                       delta_bias: Tensor | None, delta_softplus: bool, mask: Tensor | None) -> Tensor:
    """The same three steps as one segment, without in-place or custom operators, for graphs.

    A step is a node or two, whatever the number of chunks, and the end states are chained by doubling: first over
    pairs of chunks, then over fours, and so on. So the graph is the same for every length, up to `EXPORT_TOKENS` of
    them where the length is a symbol. No exponent here is positive: nothing overflows, in float32 or less.
    """
    length, dtype = graph_size(u.shape[1]), state_dtype(u)
    fixed = isinstance(length, int)
    steps = max(1, min(EXPORT_STEPS, length)) if fixed else EXPORT_STEPS
    chunks = max(1, (length + steps - 1) // steps) if fixed else (length + steps - 1) // steps
    max_chunks = chunks if fixed else EXPORT_TOKENS // steps
    skip = u.to(dtype)

    def cut(x):
        x = torch.nn.functional.pad(x, (0, 0, 0, chunks * steps - length))
        return x.reshape(-1, chunks, steps, x.shape[2]).permute(2, 0, 1, 3)

    x, dt, B, C = map(cut, (skip, step_sizes(delta, delta_bias, delta_softplus, mask, dtype), B.to(dtype), C.to(dtype)))
    A_t = A.t().to(dtype)
    # Step by step from here: a runtime would copy slabs that are cut out of one tensor, and join them again.
    a = [torch.exp(dt_t * A_t) for dt_t in dt.unsqueeze(-2).unbind()]
    b = [x_t * B_t for x_t, B_t in zip((dt * x).unsqueeze(-2).unbind(), B.unsqueeze(-1).unbind())]
    h = None  # zero
    if max_chunks > 1:
        end = b[0]
        for a_t, b_t in zip(a[1:], b[1:]):
            end = a_t * end + b_t
        h = _chain(end, dt.sum(0), A_t, max_chunks)
    ys = []
    for a_t, b_t, C_t in zip(a, b, C.unsqueeze(-1).unbind()):
        h = b_t if h is None else a_t * h + b_t
        ys.append((C_t * h).sum(-2))  # not a matrix product, which autocast would cast down
    y = torch.stack(ys, 2).flatten(1, 2)[:, :length]
    if D is not None:
        y = y + skip * D.to(dtype)
    return y.to(u.dtype)


def _chain(end: Tensor, dt: Tensor, A_t: Tensor, max_chunks: int | Tensor) -> Tensor:
    """The true state at the start of each chunk.

    Args:
        end: each chunk's end state if it starts from zero, ``(sequences, chunks, state, channels)``.
        dt: ΣΔ over each chunk, ``(sequences, chunks, channels)``.
        A_t: ``(state, channels)``.
        max_chunks: the largest number of chunks that the graph is to take.
    """
    # A smaller factor is lost beside whatever it is added to, and processors take many times as long for numbers that
    # underflow.
    least = 3 * math.log(torch.finfo(dt.dtype).eps)
    span = 1  # chunks that `end` and `dt` cover together, up to and including each
    while span < max_chunks - 1:  # nothing follows the last chunk's end
        end = end + torch.exp((dt.unsqueeze(-2) * A_t).clamp(min=least)) * _shifted(end, span)
        dt = dt + _shifted(dt, span)
        span *= 2
    return _shifted(end, 1)


def _shifted(x: Tensor, places: int) -> Tensor:
    """x moved by `places` along its second dimension, zeros before it."""
    if isinstance(x.shape[1], torch.SymInt):  # slices would have torch.export constrain the length to fit the example's
        return torch.nn.functional.pad(x, (0, 0) * (x.dim() - 2) + (places, 0))[:, :x.shape[1]]
    return torch.cat((torch.zeros_like(x[:, :places]), x[:, :-places]), 1)
