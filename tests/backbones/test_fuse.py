"""fuse: the same outputs without a BatchNorm, for inference alone."""
import copy

import pytest
import torch
from torch import nn

from mmvision_mamba import MambaVision
from mmvision_mamba.errors import ConfigError

from ..data.golden.weights import image

ARCH = dict(dim=16, in_dim=8, depths=(1, 2, 3, 2), num_heads=(1, 1, 2, 4), window_size=(4, 3), layer_scale_conv=.3)


def model(**options) -> MambaVision:
    """Each BatchNorm with statistics and weights of its own, some of them near zero."""
    torch.manual_seed(0)
    model = MambaVision(ARCH, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, .01, 4.)
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    for block in (block for level in model.levels[:2] for block in level.blocks):
        nn.init.normal_(block.gamma)
    return model.eval()


def pixels() -> torch.Tensor:
    return torch.from_numpy(image(2, 72, 100))


def inner_norms(model) -> list:
    return [name for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d) and 'outnorm' not in name]


@pytest.mark.parametrize('options', [{}, dict(norm_layer='bn'), dict(frozen_stages=2), dict(with_cp=True),
                                     dict(out_indices=(0,)), dict(norm_eval=True, window_padding='zeros')],
                         ids=lambda options: '-'.join(options) or 'default')
@torch.no_grad()
def test_same_outputs_without_batch_norm(options):
    plain = model(**options)
    fused = copy.deepcopy(plain)
    assert fused.fuse() is fused
    assert inner_norms(plain) and not inner_norms(fused)
    assert not any('gamma' in name for name, _ in fused.named_parameters())
    for a, b in zip(fused(pixels()), plain(pixels())):
        assert (a - b).abs().max() <= 1e-5 * b.abs().max()
    state = {k: v.clone() for k, v in fused.state_dict().items()}
    fused.fuse().eval()
    assert state.keys() == fused.state_dict().keys()
    assert all(torch.equal(v, state[k]) for k, v in fused.state_dict().items()), 'a second call does nothing'
    required = dict(plain.named_parameters())
    for name, parameter in fused.named_parameters():
        assert parameter.requires_grad == required.get(name, plain.patch_embed.conv_down[0].weight).requires_grad or \
            name.endswith('bias'), name


@torch.no_grad()
def test_memory_format_copying_and_loading_are_as_before():
    fused = model().fuse()
    assert all(m.weight.is_contiguous(memory_format=torch.channels_last)
               for m in fused.modules() if isinstance(m, nn.Conv2d))
    other = MambaVision(ARCH).eval().fuse()
    other.load_state_dict(copy.deepcopy(fused).state_dict())
    assert all(torch.equal(a, b) for a, b in zip(other(pixels()), fused(pixels())))
    with pytest.raises(RuntimeError, match='Missing key'):
        fused.load_state_dict(model().state_dict())


@torch.no_grad()
def test_bfloat16():
    expected = model()(pixels())
    fused = model().fuse().bfloat16()(pixels().bfloat16())
    with torch.autocast('cpu', torch.bfloat16):
        cast = model().fuse()(pixels())
    for values in (fused, cast):
        for a, b in zip(values, expected):
            assert (a - b).norm() < .05 * b.norm()
    assert all(a.dtype == torch.bfloat16 for a in fused)


def test_training_and_fusing_exclude_each_other():
    trained = model().train()
    with pytest.raises(ConfigError, match=r'call eval\(\) first'):
        trained.fuse()
    assert inner_norms(trained)
    fused = trained.eval().fuse()
    with pytest.raises(ConfigError, match='build another and load'):
        nn.Sequential(fused).train()
    assert fused.eval() is fused and not fused.training


def test_gradients_reach_the_input_and_exporting_works():
    fused = model().fuse()
    x = pixels().requires_grad_()
    sum(f.sum() for f in fused(x)).backward()
    assert x.grad.isfinite().all() and x.grad.any()
    exported = torch.export.export(fused, (pixels(),), strict=False).module()
    with torch.no_grad():
        for a, b in zip(exported(pixels()), fused(pixels())):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
