"""Stand-in for the Triton scan: its launchers' interface, computed by the chunked operator. To be replaced."""
from torch import Tensor

from .chunked import Plan, chunked_scan_backward_op, chunked_scan_op


def starts_shape(batch, length, channels, state):
    plan = Plan.make(batch, length, channels, state)
    return plan.segments, batch, plan.chunks, state, channels


def scan_forward(u, delta, A, B, C, D, delta_bias, delta_softplus, mask, out) -> Tensor:
    y, starts = chunked_scan_op(u, delta, A, B, C, D, delta_bias, delta_softplus, mask)
    out.copy_(y)
    return starts


def scan_backward(dy, u, delta, A, B, C, D, delta_bias, delta_softplus, mask, starts, du, ddelta, dB, dC):
    results = chunked_scan_backward_op(dy, u, delta, A, B, C, D, delta_bias, delta_softplus, mask, starts)
    for out, value in zip((du, ddelta, dB, dC), (*results[:2], *results[3:5])):
        out.copy_(value)
    return results[2].float(), results[5], results[6]
