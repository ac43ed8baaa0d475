import pytest
import torch
import torch.nn as nn
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from mmvision_mamba.ops import Linear
from mmvision_mamba.ops.linear import SMALLEST

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason='PyTorch without oneDNN')


class Operators(TorchDispatchMode):
    """The names of the operators called."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def convolves(layer, x):
    with Operators() as called:
        layer(x)
    return 'convolution' in called.names


@settings(max_examples=30, deadline=None)
@given(lead=st.sampled_from([(300,), (1, 301), (3, 110), (2, 7, 23)]), channels=st.integers(65, 100),
       out=st.integers(1, 90), bias=st.booleans(), contiguous=st.booleans(), seed=st.integers(0, 99))
def test_equals_a_linear_layer_in_float64(lead, channels, out, bias, contiguous, seed):
    torch.manual_seed(seed)
    layer = Linear(channels, out, bias=bias)
    exact = nn.Linear(channels, out, bias=bias, dtype=torch.float64)
    exact.load_state_dict(layer.state_dict())
    x = torch.randn(*lead, channels) if contiguous else torch.randn(channels, *lead).movedim(0, -1)
    x.requires_grad_()
    x64 = x.detach().double().requires_grad_()
    y, y64 = layer(x), exact(x64)
    assert y.shape == y64.shape and y.is_contiguous()
    dy = torch.randn_like(y)
    y.backward(dy)
    y64.backward(dy.double())
    for ours, theirs in ((y, y64), (x.grad, x64.grad),
                         *((p.grad, q.grad) for p, q in zip(layer.parameters(), exact.parameters()))):
        assert ours.shape == theirs.shape
        assert (ours - theirs).norm() <= 1e-6 * theirs.norm()


@needs_onednn
@pytest.mark.parametrize('grad', [True, False])
def test_onednn_is_what_computes_it(grad):
    with torch.set_grad_enabled(grad):
        assert convolves(Linear(64, 32), torch.randn(2, 400, 64))


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16])
def test_other_types_are_left_to_the_linear_layer(dtype):
    assert not convolves(Linear(64, 32, dtype=dtype), torch.randn(2, 400, 64, dtype=dtype))


def test_autocast_is_left_to_the_linear_layer():
    with torch.autocast('cpu', torch.bfloat16):
        y = Linear(64, 32)(x := torch.randn(2, 400, 64))
        assert y.dtype == torch.bfloat16 and not convolves(Linear(64, 32), x)


def test_small_ones_are_left_to_the_linear_layer():
    assert not convolves(Linear(64, 32), torch.randn(SMALLEST // 64, 64))


def test_no_tokens():
    assert Linear(64, 32)(torch.randn(0, 5, 64)).shape == (0, 5, 32)


def test_graphs_have_a_linear_layer():
    layer, x = Linear(64, 32), torch.randn(2, 400, 64)
    names = {str(node.target) for node in torch.export.export(layer, (x,)).graph.nodes}
    assert 'aten.linear.default' in names and not any('conv' in name for name in names)
    assert 'conv' not in str(torch.jit.trace(layer, x).inlined_graph)
    graphs = []
    torch.compile(layer, backend=lambda module, _: graphs.append(module) or module.forward, fullgraph=True)(x)
    assert 'conv' not in str(graphs[0].graph)


def test_saves_as_a_linear_layer_does():
    assert isinstance(layer := Linear(3, 2), nn.Linear)
    assert list(layer.state_dict()) == list(nn.Linear(3, 2).state_dict())
