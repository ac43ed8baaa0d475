"""Each ablation changes what it says, and nothing else."""
import re

import pytest
import torch

from mmvision_mamba import MambaVision, create_model
from mmvision_mamba.backbones.ablations import MixerVariant, hybrid_patterns
from mmvision_mamba.backbones.mambavision import Attention, Block, MambaVisionMixer
from mmvision_mamba.errors import ConfigError

from ..data.golden.weights import fill, image

ARCH = dict(dim=16, in_dim=8, depths=(1, 1, 8, 4), num_heads=(1, 1, 2, 4), window_size=(4, 3))


def pixels(*size):
    return torch.from_numpy(image(*size))


def letters(**options):
    model = MambaVision(ARCH, **options)
    return [''.join('S' if isinstance(block.mixer, Attention) else 'M' for block in level.blocks)
            for level in model.levels[2:]]


# The pattern of the blocks -----------------------------------------------------------------------------------------

@pytest.mark.parametrize(('options', 'expected'), [
    ({}, ['MMMMSSSS', 'MMSS']),
    (dict(pattern=('SSSSMMMM', 'SSMM')), ['SSSSMMMM', 'SSMM']),
    (dict(pattern=('attention_last', 'MSSM')), ['MMMMSSSS', 'MSSM']),
    (dict(pattern='attention_first'), ['SSSSMMMM', 'SSMM']),
    (dict(pattern='alternate'), ['MSMSMSMS', 'MSMS']),
    (dict(mixer_ratio=0.75), ['MMMMMMSS', 'MMMS']),  # attention in the last quarter
    (dict(mixer_ratio=0.25, pattern='attention_first'), ['SSSSSSMM', 'SSSM']),
    (dict(mixer_ratio=1), ['MMMMMMMM', 'MMMM']), (dict(mixer_ratio=0.), ['SSSSSSSS', 'SSSS'])])
def test_pattern_and_ratio(options, expected):
    assert letters(**options) == expected
    assert [len(s) for s in MambaVision(ARCH, **options)(pixels(1, 64, 64))] == [1] * 4


def test_random_pattern():
    drawn = [hybrid_patterns('random', None, seed, (8, 4)) for seed in range(20)]
    assert drawn == [hybrid_patterns('random', None, seed, (8, 4)) for seed in range(20)]
    assert all(p[0].count('M') == 4 and p[1].count('M') == 2 for p in drawn)
    assert len({p[0] for p in drawn}) > 10
    assert drawn[0][0] == hybrid_patterns('random', None, 0, (8, 9))[0], 'one stage does not shift the other'
    assert letters(pattern='random', pattern_seed=3) == drawn[3]


@pytest.mark.parametrize(('mixers', 'expected'), [(0, 'SSSSS'), (1, 'MSSSS'), (2, 'MSMSS'), (3, 'MSMSM'), (5, 'MMMMM')])
def test_alternate_takes_turns(mixers, expected):
    assert hybrid_patterns('alternate', mixers / 5, 0, (5, 0)) == [expected, '']


@pytest.mark.parametrize(('options', 'message'), [
    (dict(pattern='MMMM'), "pattern 'MMMM' has 4 letters, but stage 3 has 8 blocks: give one string for each of the "
                           "two stages, here of 8 letters, such as 'MMMMSSSS'"),
    (dict(pattern='MMMMSSSS'), "has 8 letters, but stage 4 has 4 blocks: give one string for each of the two stages, "
                               "here of 4 letters, such as 'MMSS'"),
    (dict(pattern=('MMMMSSXS', 'MMSS')), "pattern 'MMMMSSXS': expected one of attention_last, attention_first"),
    (dict(pattern='mmmmssss'), 'M for a MambaVision mixer and S for self-attention'),
    (dict(pattern='alternating'), "did you mean 'alternate'?"), (dict(pattern=('MMSS',)), 'or two, for stages 3 and 4'),
    (dict(mixer_ratio=1.5), 'mixer_ratio must be in [0, 1], got 1.5'),
    (dict(mixer_ratio=0.5, pattern=('MMMMSSSS', 'MMSS')), 'leave out one of them'),
    (dict(mixer_conv='casual'), "mixer_conv must be one of ('regular', 'causal') (did you mean 'causal'?)"),
    (dict(mixer_branch='concatenate'), 'mixer_branch must be one of')])
def test_what_can_not_be(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        MambaVision(ARCH, **options)


# The mixer ---------------------------------------------------------------------------------------------------------

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
    x = pixels(2, 96, 64)
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
