"""The mixer and its variants: each changes what it says, and nothing else."""
import re

import pytest
import torch

from mmvision_mamba import MambaVision, create_model
from mmvision_mamba.backbones.mambavision import Block
from mmvision_mamba.backbones.mixers import MambaVisionMixer, MixerVariant
from mmvision_mamba.errors import ConfigError

from ..data.golden.weights import fill, image

ARCH = dict(dim=16, in_dim=8, depths=(1, 1, 8, 4), num_heads=(1, 1, 2, 4), window_size=(4, 3))


def test_without_a_difference_it_is_the_mixer():
    plain, variant = fill(MambaVisionMixer(20, 3, 4)), fill(MixerVariant(20, 3, 4))
    assert {k: v.shape for k, v in plain.state_dict().items()} == {k: v.shape for k, v in variant.state_dict().items()}
    x = torch.randn(2, 11, 20)
    for mask in (None, torch.rand(2, 11) < 0.7):
        y = x if mask is None else x.masked_fill(~mask[..., None], 0)
        torch.testing.assert_close(variant(y, mask), plain(y, mask))
    for block in (MambaVision(ARCH).levels[2].blocks[0], MambaVision(ARCH, mixer_conv='regular').levels[3].blocks[1]):
        assert type(block.mixer) is MambaVisionMixer, 'what has a fused form'


@pytest.mark.parametrize(('conv', 'reaches_back'), [('regular', True), ('causal', False)])
@pytest.mark.parametrize('branch', ['concat', 'gate', 'linear_gate', 'none'])
def test_causal_convolutions_see_no_token_to_come(conv, reaches_back, branch):
    mixer = fill(MixerVariant(16, conv=conv, branch=branch))
    x = torch.randn(1, 12, 16)
    changed = x.clone()
    changed[:, 7:] += 1
    difference = (mixer(changed) - mixer(x)).abs().amax((0, 2)) > 1e-6
    assert difference[7:].all() and not difference[:6].any()
    assert difference[6].item() == reaches_back


def test_causal_convolution_against_torch():
    x, mixer = torch.randn(2, 9, 16), fill(MixerVariant(16, conv='causal'))
    weight = mixer.conv1d_x.weight
    padded = torch.nn.functional.pad(x[..., :8], (0, 0, 2, 0))
    expected = sum(padded[:, k:k + 9] * weight[:, 0, k] for k in range(3))
    torch.testing.assert_close(mixer.conv1d_x(x[..., :8].transpose(1, 2)).transpose(1, 2), expected)


def test_branches():
    """Joined, the branch still speaks where the scan is silent; as a gate it does not; without one all are scanned."""
    sizes, spoken = {}, {}
    for branch in ('concat', 'gate', 'linear_gate', 'none'):
        mixer = fill(MixerVariant(16, branch=branch))
        sizes[branch] = len(mixer.D), mixer.out_proj.in_features, hasattr(mixer, 'conv1d_z')
        with torch.no_grad():
            mixer.conv1d_x.weight.zero_()
        spoken[branch] = mixer(torch.randn(1, 5, 16)).abs().max().item() > 1e-6
    assert sizes == dict(
        concat=(8, 16, True), gate=(8, 8, True), linear_gate=(8, 8, False), none=(16, 16, False))
    assert spoken == dict(concat=True, gate=False, linear_gate=False, none=False)
    gate = fill(MixerVariant(16, branch='gate'))
    x = torch.randn(2, 7, 16)
    half = fill(MixerVariant(16))
    with torch.no_grad():  # the joined one with out_proj the identity gives both factors
        half.out_proj.weight.copy_(torch.eye(16))
        for name in ('in_proj', 'conv1d_x', 'conv1d_z', 'x_proj', 'dt_proj'):
            half.get_submodule(name).load_state_dict(gate.get_submodule(name).state_dict())
        y, z = half(x).chunk(2, -1)
    torch.testing.assert_close(gate(x), gate.out_proj(y * z))
    linear = MixerVariant(16, branch='linear_gate')
    linear.load_state_dict({k: v for k, v in gate.state_dict().items() if 'conv1d_z' not in k})
    z = torch.nn.functional.silu(x @ gate.in_proj.weight[8:].T)
    torch.testing.assert_close(linear(x), gate.out_proj(y * z))


@pytest.mark.parametrize('conv', ['regular', 'causal'])
@pytest.mark.parametrize('branch', ['concat', 'gate', 'linear_gate', 'none'])
def test_padding_reaches_nothing(conv, branch):
    block = fill(Block(16, MixerVariant(16, conv=conv, branch=branch), 4., 0., 1.)).double()
    x = torch.randn(1, 12, 16, dtype=torch.float64)
    mask = torch.arange(12)[None] < 9
    torch.testing.assert_close(block(x, mask)[:, :9], block(x[:, :9]))


@pytest.mark.parametrize('options', [
    dict(mixer_conv='causal'), dict(mixer_branch='gate'), dict(mixer_branch='linear_gate'), dict(mixer_branch='none'),
    dict(pattern='alternate'),
    dict(mixer_ratio=1.), dict(window_size=2), dict(window_size=None)], ids=str)
def test_each_changes_the_features_and_has_gradients(options):
    x = torch.from_numpy(image(2, 96, 64))
    model, plain = (fill(MambaVision(ARCH, drop_path_rate=0., **o)).eval() for o in (options, {}))
    features = model(x)
    assert not torch.allclose(features[3], plain(x)[3], atol=1e-3)
    torch.testing.assert_close(features[1], plain(x)[1], rtol=1e-4, atol=1e-4)  # stages 1 and 2 have no mixers
    sum(f.square().mean() for f in features).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_create_model_takes_them():
    model = create_model('mambavision_tiny', dim=16, depths=(1, 1, 4, 1), num_heads=(1, 1, 1, 1), pattern='random',
                         mixer_branch='gate', mixer_ratio=0.5)
    assert sum(type(block.mixer) is MixerVariant for block in model.levels[2].blocks) == 2


@pytest.mark.parametrize(('options', 'message'), [
    (dict(mixer_conv='casual'), "mixer_conv must be one of ('regular', 'causal') (did you mean 'causal'?)"),
    (dict(mixer_branch='concatenate'), 'mixer_branch must be one of')])
def test_what_can_not_be(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        MambaVision(ARCH, **options)
