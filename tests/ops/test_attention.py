"""Attention in blocks, against the formula in float64."""
import importlib

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmvision_mamba.ops import attention, onednn

module = importlib.import_module('mmvision_mamba.ops.attention')  # whose name the function has
pytestmark = pytest.mark.skipif(onednn._LINEAR is None, reason="PyTorch without oneDNN's linear layer")


@pytest.fixture(autouse=True)
def on_zen5(monkeypatch):
    """As on a CPU that gains by blocks; small ones, of short sequences."""
    monkeypatch.setattr(onednn, 'chosen', lambda: True)
    monkeypatch.setattr(onednn, 'chosen_for_attention', lambda: True)
    monkeypatch.setattr(module, 'BLOCK', 8)
    monkeypatch.setattr(module, 'LONG', 1)


def exact(q, k, v, mask):
    weights = q @ k.transpose(-1, -2) / q.shape[-1]**0.5
    if mask is not None:
        weights = weights.masked_fill(~mask[:, None, None, :], -torch.inf)
    return weights.softmax(-1) @ v


def in_blocks(monkeypatch):
    """The number of calls of the blocks' function from now on."""
    calls = []
    forward = module._Blocks.forward
    monkeypatch.setattr(module._Blocks, 'forward', staticmethod(lambda *args: calls.append(1) or forward(*args)))
    return calls


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.integers(1, 3), heads=st.integers(1, 4), tokens=st.integers(1, 40), size=st.integers(1, 12),
       masked=st.booleans(), scale=st.sampled_from([1., 30.]), seed=st.integers(0, 99))
def test_equals_the_formula_in_float64(batch, heads, tokens, size, masked, scale, seed):
    """q, k and v as the layer has them: parts of one tensor, permuted. Large ones too, whose weights are 0 and 1."""
    torch.manual_seed(seed)
    qkv = torch.randn(batch, tokens, 3 * heads * size, dtype=torch.float64) * scale
    qkv[..., 2 * heads * size:] /= scale
    mask = None
    if masked:
        mask = torch.rand(batch, tokens) > 0.4
        mask[:, 0] = True
    weight = torch.randn(batch, heads, tokens, size, dtype=torch.float64)
    results = []
    for function, dtype in ((attention, torch.float32), (exact, torch.float64)):
        leaf = qkv.to(torch.float32).to(dtype).requires_grad_()
        q, k, v = leaf.unflatten(-1, (3, heads, size)).permute(2, 0, 3, 1, 4)
        y = function(q, k, v, mask)
        results.append((y, *torch.autograd.grad((y * weight.to(dtype)).sum(), [leaf])))
    largest = (q @ k.transpose(-1, -2)).abs().max().item() / size**0.5  # a rounded exponent is off by a part of itself
    for value, expected in zip(*results):
        assert value.dtype == torch.float32
        assert (value - expected).norm() <= 1e-6 * (20 + largest) * expected.norm() + 1e-6
    assert results[0][0].transpose(1, 2).is_contiguous()


def test_only_long_sequences_in_float32(monkeypatch):
    calls = in_blocks(monkeypatch)
    q = torch.randn(1, 2, 20, 4)
    attention(q, q, q)
    assert calls == [1]
    monkeypatch.setattr(module, 'LONG', 21)
    attention(q, q, q)
    monkeypatch.setattr(module, 'LONG', 1)
    attention(*[q.double()] * 3)
    with torch.autocast('cpu', torch.bfloat16):
        attention(q, q, q)
    monkeypatch.setattr(onednn, 'chosen_for_attention', lambda: False)
    attention(q, q, q)
    assert calls == [1]


@pytest.mark.parametrize(('processor', 'value', 'expected'), [
    (('AMD', 26), '', True), (('AMD', 25), '', False), (('', 26), '', False), (('AMD', 26), 'torch', False),
    (('', 6), 'onednn', True)])
def test_which_processors_gain(monkeypatch, processor, value, expected):
    monkeypatch.undo()
    monkeypatch.setattr(onednn, 'processor', lambda: processor)
    monkeypatch.setenv(onednn.VARIABLE, value)
    onednn.chosen.cache_clear()
    try:
        assert onednn.chosen_for_attention.__wrapped__() == expected
    finally:
        onednn.chosen.cache_clear()


def test_the_same_gradients_under_checkpointing():
    q = torch.randn(1, 2, 20, 4, requires_grad=True)
    plain, = torch.autograd.grad(attention(q, q, q).sin().sum(), q)
    y = torch.utils.checkpoint.checkpoint(attention, q, q, q, use_reentrant=False)
    again, = torch.autograd.grad(y.sin().sum(), q)
    assert torch.equal(plain, again)


def test_graphs_have_pytorchs_attention():
    class Attention(torch.nn.Module):
        def forward(self, q):
            return attention(q, q, q)
    q = torch.randn(1, 2, 20, 4)
    names = {str(node.target) for node in torch.export.export(Attention(), (q,)).graph.nodes}
    assert 'aten.scaled_dot_product_attention.default' in names
    graphs = []
    torch.compile(Attention(), backend=lambda module, _: graphs.append(module) or module.forward, fullgraph=True)(q)
    assert 'scaled_dot_product_attention' in str(graphs[0].graph)
