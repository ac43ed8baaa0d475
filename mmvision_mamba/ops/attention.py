"""Attention, which on some CPUs is computed in blocks of queries by oneDNN's products."""
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from . import onednn

BLOCK = 256  # queries; of 4,200 tokens a block's weights are 4 MB
LONG = 1024  # tokens from which blocks are faster


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q kᵀ / √D) v.

    Args:
        q, k, v: ``(batch, heads, tokens, D)``.
        mask: bool, ``(batch, tokens)``, True at the keys to see, of which each sequence has some. None: all.

    Returns:
        ``(batch, heads, tokens, D)``.
    """
    if q.shape[2] >= LONG and onednn.takes(q, k, v) and onednn.chosen_for_attention():
        return _Blocks.apply(q, k, v, mask)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask[:, None, None, :])


class _Blocks(torch.autograd.Function):
    """Attention head by head; the backward computes each block's weights again, and keeps nothing but the output."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        batch, heads, tokens, size = q.shape
        out = q.new_empty(batch, tokens, heads, size).transpose(1, 2)  # as the layer that follows reads it
        for b, h, seen in _sequences(q, mask):
            keys, values = k[b, h][seen] * size**-0.5, v[b, h][seen].contiguous()
            for rows in _rows(tokens):
                weights = onednn.product(q[b, h, rows], keys)
                torch.softmax(weights, -1, out=weights)
                out[b, h, rows] = onednn.product(weights, values.t())
        ctx.save_for_backward(q, k, v, mask, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, mask, out = ctx.saved_tensors
        tokens, scale = q.shape[2], q.shape[3]**-0.5
        dq, dk, dv = (torch.zeros_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
        for b, h, seen in _sequences(q, mask):
            keys, values = k[b, h][seen] * scale, v[b, h][seen].contiguous()
            dkeys, dvalues = torch.zeros_like(keys).t(), torch.zeros_like(values).t()
            for rows in _rows(tokens):
                queries, dout_b = q[b, h, rows].contiguous(), dout[b, h, rows].contiguous()
                weights = onednn.product(queries, keys)
                torch.softmax(weights, -1, out=weights)
                dvalues += onednn.product(dout_b.t(), weights.t())
                dweights = onednn.product(dout_b, values)
                # softmax': w (dw - Σ w dw), and Σ w dw is the product of the output and its gradient
                dweights.sub_((dout_b * out[b, h, rows]).sum(-1, keepdim=True)).mul_(weights)
                dq[b, h, rows] = onednn.product(dweights, keys.t())
                dkeys += onednn.product(queries.t(), dweights.t())
            dk[b, h, seen] = dkeys.t() * scale
            dv[b, h, seen] = dvalues.t()
        return dq, dk, dv, None


def _sequences(q: Tensor, mask: Tensor | None) -> Iterator[tuple[int, int, Any]]:
    """(b, h, indices of the keys to see) of every head of every sequence."""
    for b in range(q.shape[0]):
        seen = slice(None) if mask is None else mask[b].nonzero().flatten()
        for h in range(q.shape[1]):
            yield b, h, seen


def _rows(tokens: int) -> Iterator[slice]:
    return (slice(start, start + BLOCK) for start in range(0, tokens, BLOCK))
