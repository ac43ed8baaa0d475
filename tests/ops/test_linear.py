import platform
from pathlib import Path

import pytest
import torch
import torch.nn as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.ops import Linear, onednn

needs_onednn = pytest.mark.skipif(onednn._LINEAR is None, reason="PyTorch without oneDNN's linear layer")


@pytest.fixture(autouse=True)
def on_amd(monkeypatch):
    """As on a CPU that gains by oneDNN."""
    monkeypatch.setattr(onednn, 'processor', lambda: ('AMD', 25))
    monkeypatch.delenv(onednn.VARIABLE, raising=False)
    onednn.chosen.cache_clear()
    yield
    onednn.chosen.cache_clear()


class Operators(TorchDispatchMode):
    """The names of the operators called."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def takes_onednn(layer, x):
    with Operators() as called:
        layer(x)
    return '_linear_pointwise' in called.names


@settings(max_examples=40, deadline=None)
@given(lead=st.sampled_from([(), (1,), (7,), (0,), (1, 49), (3, 11), (2, 3, 5), (2, 0, 4)]),
       channels=st.integers(1, 70), out=st.integers(1, 90), bias=st.booleans(), contiguous=st.booleans(),
       grad=st.booleans(), seed=st.integers(0, 99))
def test_equals_a_linear_layer_in_float64(lead, channels, out, bias, contiguous, grad, seed):
    torch.manual_seed(seed)
    layer = Linear(channels, out, bias=bias)
    exact = nn.Linear(channels, out, bias=bias, dtype=torch.float64)
    exact.load_state_dict(layer.state_dict())
    x = torch.randn(*lead, channels) if contiguous else torch.randn(channels, *lead).movedim(0, -1)
    with torch.set_grad_enabled(grad):
        y, y64 = layer(x), exact(x.double())
    assert y.shape == y64.shape and y.dtype == torch.float32 and y.requires_grad == grad
    with torch.no_grad():
        terms = nn.functional.linear(x.double().abs(), exact.weight.abs(), exact.bias.abs() if bias else None)
    assert (y - y64).norm() <= 1e-6 * terms.norm()  # of the terms: a sum may be next to nothing


@settings(max_examples=40, deadline=None)
@given(lead=st.sampled_from([(), (1,), (7,), (1, 49), (3, 11), (2, 3, 5)]), channels=st.integers(1, 70),
       out=st.integers(1, 90), bias=st.booleans(), contiguous=st.booleans(), summed=st.booleans(),
       seed=st.integers(0, 99))
def test_gradients_equal_those_in_float64(lead, channels, out, bias, contiguous, summed, seed):
    """Of a sum too, whose gradient is one number expanded."""
    torch.manual_seed(seed)
    layer = Linear(channels, out, bias=bias)
    exact = nn.Linear(channels, out, bias=bias, dtype=torch.float64)
    exact.load_state_dict(layer.state_dict())
    x = torch.randn(*lead, channels) if contiguous else torch.randn(channels, *lead).movedim(0, -1)
    results = []
    for module, dtype in ((layer, torch.float32), (exact, torch.float64)):
        leaf = x.detach().to(dtype).requires_grad_()
        y = module(leaf)
        results.append(torch.autograd.grad(y.sum() if summed else y.sin().sum(), [leaf, *module.parameters()]))
    for value, expected in zip(*results):
        assert value.shape == expected.shape and (value - expected).norm() <= 1e-5 * expected.norm().clamp_min(1e-3)


@needs_onednn
def test_onednn_computes_inference_and_training():
    layer, x = Linear(64, 32), torch.randn(2, 400, 64, requires_grad=True)
    assert takes_onednn(layer, x)
    with torch.no_grad():
        assert takes_onednn(layer, x)
    with torch.inference_mode():
        assert takes_onednn(layer, x)
    with Operators() as called:
        layer(x).sin().sum().backward()
    assert called.names.count('_linear_pointwise') == 3
    assert not {'mm', 'addmm', 'linear', 'matmul'} & {*called.names}


@needs_onednn
@pytest.mark.parametrize('which', [['weight'], ['bias'], []])
def test_no_gradient_is_computed_that_nothing_needs(which):
    layer = Linear(64, 32)
    for name, parameter in layer.named_parameters():
        parameter.requires_grad_(name in which)
    x = torch.randn(9, 64, requires_grad=not which)
    with Operators() as called:
        layer(x).sin().sum().backward()
    assert called.names.count('_linear_pointwise') == (1 if which == ['bias'] else 2)


def test_second_derivatives():
    layer, x = Linear(5, 3), torch.randn(7, 5, requires_grad=True)
    results = []
    for module in (layer, nn.Linear(5, 3)):
        module.load_state_dict(layer.state_dict())
        grad, = torch.autograd.grad(module(x).sin().sum(), x, create_graph=True)
        results.append(torch.autograd.grad(grad.square().sum(), [x, module.weight]))
    for value, expected in zip(*results):
        torch.testing.assert_close(value, expected)


def test_transforms_of_functions():
    layer, x = Linear(5, 3), torch.randn(4, 5)
    expected = nn.functional.linear(x, layer.weight, layer.bias)
    torch.testing.assert_close(torch.func.vmap(layer)(x), expected)
    torch.testing.assert_close(torch.func.jacrev(layer)(x[0]), layer.weight)
    torch.testing.assert_close(torch.func.jacfwd(layer)(x[0]), layer.weight)


@needs_onednn
@pytest.mark.parametrize(('vendor', 'value', 'expected'), [
    ('AMD', '', True), ('', '', False), ('', 'onednn', True), ('AMD', 'torch', False), ('AMD', 'onednn', True)])
def test_the_vendor_decides_or_the_environment(monkeypatch, vendor, value, expected):
    monkeypatch.setattr(onednn, 'processor', lambda: (vendor, 6))
    monkeypatch.setenv(onednn.VARIABLE, value)
    assert takes_onednn(Linear(64, 32), torch.randn(4, 64)) == expected


def test_an_unknown_value_in_the_environment(monkeypatch):
    monkeypatch.setenv(onednn.VARIABLE, 'mkl')
    with pytest.raises(ConfigError, match=f"{onednn.VARIABLE} is 'mkl': expected 'onednn' or 'torch'"):
        Linear(64, 32)(torch.randn(4, 64))


@pytest.mark.parametrize(('text', 'windows', 'expected'), [
    ('processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 26\nmodel\t: 2\n\nprocessor\t: 1\n', '', ('AMD', 26)),
    ('vendor_id\t: GenuineIntel\ncpu family\t: 6\n', 'x86_64', ('', 6)),
    (None, 'AMD64 Family 25 Model 33 Stepping 2, AuthenticAMD', ('AMD', 25)), (None, 'arm', ('', 0)),
    ('processor\t: 0\nBogoMIPS\t: 50.00\nCPU architecture: 8\n', '', ('', 0))])
def test_processors(monkeypatch, text, windows, expected):
    def read(path, **_):
        if text is None:
            raise FileNotFoundError(path)
        return text
    monkeypatch.undo()  # the fixture's
    monkeypatch.setattr(platform, 'processor', lambda: windows)
    monkeypatch.setattr(Path, 'read_text', read)
    assert onednn.processor.__wrapped__() == expected


@torch.no_grad()
def test_other_types_are_left_to_the_linear_layer():
    for dtype in (torch.float64, torch.bfloat16):
        assert not takes_onednn(Linear(64, 32, dtype=dtype), torch.randn(2, 400, 64, dtype=dtype))
    x = torch.randn(2, 400, 64)
    with torch.autocast('cpu', torch.bfloat16):
        assert Linear(64, 32)(x).dtype == torch.bfloat16 and not takes_onednn(Linear(64, 32), x)

    class Quantized(nn.Parameter):
        pass
    layer = Linear(64, 32)
    layer.weight = Quantized(layer.weight)
    assert not takes_onednn(layer, x)


@torch.no_grad()
def test_a_pytorch_without_it(monkeypatch):
    monkeypatch.setattr(onednn, '_LINEAR', None)
    assert not takes_onednn(Linear(64, 32), torch.randn(2, 400, 64))


@torch.no_grad()
def test_graphs_have_a_linear_layer():
    layer, x = Linear(64, 32), torch.randn(2, 400, 64)
    assert 'aten.linear.default' in {str(node.target) for node in torch.export.export(layer, (x,)).graph.nodes}
    assert 'aten::linear' in str(torch.jit.trace(layer, x).inlined_graph)
    graphs = []
    torch.compile(layer, backend=lambda module, _: graphs.append(module) or module.forward, fullgraph=True)(x)
    assert 'mkldnn' not in str(graphs[0].graph)


@pytest.mark.parametrize('grad', [True, False])
def test_flops(grad):
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(grad):
        Linear(8, 16)(torch.ones(2, 3, 8))
    assert counter.get_total_flops() == 2 * 2 * 3 * 8 * 16


def test_saves_as_a_linear_layer_does():
    assert isinstance(layer := Linear(3, 2), nn.Linear)
    assert list(layer.state_dict()) == list(nn.Linear(3, 2).state_dict())
