"""Which blocks of stages 3 and 4 have a mixer, and which self-attention."""
import re

import pytest
import torch

from mmvision_mamba import MambaVision
from mmvision_mamba.backbones.mambavision import Attention
from mmvision_mamba.backbones.patterns import hybrid_patterns
from mmvision_mamba.errors import ConfigError

from ..data.golden.weights import image

ARCH = dict(dim=16, in_dim=8, depths=(1, 1, 8, 4), num_heads=(1, 1, 2, 4), window_size=(4, 3))


def letters(**options):
    model = MambaVision(ARCH, **options)
    return [''.join('S' if isinstance(block.mixer, Attention) else 'M' for block in level.blocks)
            for level in model.levels[2:]]


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
    assert [len(s) for s in MambaVision(ARCH, **options)(torch.from_numpy(image(1, 64, 64)))] == [1] * 4


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
    (dict(mixer_ratio=0.5, pattern=('MMMMSSSS', 'MMSS')), 'leave out one of them')])
def test_what_can_not_be(options, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        MambaVision(ARCH, **options)
