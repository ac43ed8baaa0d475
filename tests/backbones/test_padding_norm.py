"""The norm of windows padded with zeros: LayerNorm's outputs, and a gradient from which training can begin."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mmvision_mamba import MambaVision
from mmvision_mamba.backbones.padding_norm import PaddingNorm

ARCH = dict(dim=32, in_dim=8, depths=(1, 1, 6, 4), num_heads=(1, 1, 2, 4), window_size=(16, 8))


def gradient_norms(padding, before=lambda model: None, size=(100, 132), **options):
    """Norms of the first step's gradients, of a model as it is initialised."""
    torch.manual_seed(0)
    model = MambaVision(ARCH, window_padding=padding, drop_path_rate=0., **options).train()
    before(model)
    features = model(torch.randn(2, 3, *size))
    sum((f * torch.cos(torch.arange(f.numel(), dtype=f.dtype)).view_as(f)).mean() for f in features).backward()
    return {name: p.grad.norm().item() for name, p in model.named_parameters()}


def total(norms):
    return sum(norm**2 for norm in norms.values())**0.5


@pytest.mark.parametrize('bias', [0., 1e-9, 1e-6, 1e-4, 1e-2])
def test_the_first_steps_gradients_are_alike_for_both_paddings(bias):
    """Also while biases leave zero, which takes hundreds of updates of a warm-up."""
    def set_biases(model):
        for name, parameter in model.named_parameters():
            if name.endswith('bias') and ('.norm' in name or '.mlp.' in name):
                nn.init.normal_(parameter, std=bias)

    def with_plain_norms(model):
        set_biases(model)
        for module in model.modules():
            if isinstance(module, PaddingNorm):
                module.eval()

    fit, zeros = (total(gradient_norms(padding, set_biases)) for padding in ('fit', 'zeros'))
    assert 0.5 < zeros / fit < 2
    if bias < 1e-8:
        assert total(gradient_norms('zeros', with_plain_norms)) > 1e3 * fit, 'nothing to bound: the test shows nothing'


def test_recomputed_blocks_have_the_same_gradients():
    plain, recomputed = gradient_norms('zeros'), gradient_norms('zeros', with_cp=True)
    assert plain == pytest.approx(recomputed)


def test_the_first_step_in_bfloat16():
    with torch.autocast('cpu', torch.bfloat16):
        assert total(gradient_norms('zeros')) < 2 * total(gradient_norms('fit'))


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(0, 10), shift=st.floats(-10, 10), seed=st.integers(0, 99))
def test_exact_where_tokens_vary_and_zero_where_they_are_constant(scale, shift, seed):
    torch.manual_seed(seed)
    norm, x, weight = PaddingNorm(16).double(), *torch.randn(2, 5, 16, dtype=torch.float64)
    x = scale * x + shift
    x[0] = shift
    nn.init.normal_(norm.weight)
    gradients, outputs = [], []
    for mode in (True, False):
        inputs = x.clone().requires_grad_()
        norm.train(mode).zero_grad()
        outputs.append(norm(inputs))
        (outputs[-1] * weight).sum().backward()
        gradients.append((inputs.grad, norm.weight.grad, norm.bias.grad))
    assert torch.equal(*outputs)
    (bounded, *parameters), (plain, *plain_parameters) = gradients
    varies = x.var(-1, correction=0) >= norm.eps
    assert torch.equal(bounded[varies], plain[varies])
    assert (bounded[~varies].norm(dim=-1) <= plain[~varies].norm(dim=-1)).all() and bounded[0].norm() < 1e-6
    assert all(map(torch.equal, parameters, plain_parameters))


def test_compiles_for_training_without_graph_break():
    torch.manual_seed(0)
    model = MambaVision({**ARCH, 'depths': (1, 1, 2, 2)}, window_padding='zeros', drop_path_rate=0.).train()
    x, gradients = torch.randn(2, 3, 64, 96), []
    for forward in (model, torch.compile(model, fullgraph=True, backend='aot_eager', dynamic=False)):
        model.zero_grad()
        sum(f.square().mean() for f in forward(x)).backward()
        gradients.append([p.grad for p in model.parameters()])
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
