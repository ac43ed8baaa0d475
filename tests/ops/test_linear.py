import pytest
import torch
import torch.nn as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mmvision_mamba.ops import Linear
from mmvision_mamba.ops import linear as module

needs_onednn = pytest.mark.skipif(module._LINEAR is None, reason="PyTorch without oneDNN's linear layer")


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
    assert (y - y64).norm() <= 1e-6 * y64.norm()


@needs_onednn
def test_onednn_computes_inference_alone():
    layer, x = Linear(64, 32), torch.randn(2, 400, 64)
    assert not takes_onednn(layer, x)
    with torch.no_grad():
        assert takes_onednn(layer, x)
    with torch.inference_mode():
        assert takes_onednn(layer, x)


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
    monkeypatch.setattr(module, '_LINEAR', None)
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
