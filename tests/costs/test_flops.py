import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmvision_mamba.backbones.mixers import MambaVisionMixer
from mmvision_mamba.costs.flops import count_flops, scan_flops


@pytest.mark.parametrize('groups', [1, 2, 8])
def test_flops_of_a_convolution_and_its_backward(groups):
    conv, x = torch.nn.Conv2d(8, 16, 3, padding=1, groups=groups), torch.ones(2, 8, 5, 7, requires_grad=True)
    forward = 2 * 2 * 16 * 5 * 7 * (8 // groups) * 9
    assert count_flops(lambda: conv(x), conv, 'forward') == forward
    assert count_flops(lambda: conv(x).sum().backward(), conv, 'training') == 3 * forward
    assert count_flops(lambda: conv(x.detach()).sum().backward(), conv, 'training') == 2 * forward


def test_flops():
    linear = nn.Linear(8, 16)
    assert count_flops(lambda: linear(torch.ones(4, 8)), linear, 'forward') == 2 * 4 * 8 * 16
    q = torch.randn(1, 2, 32, 16)
    assert count_flops(lambda: F.scaled_dot_product_attention(q, q, q), linear, 'forward') == \
        2 * 2 * 2 * 32 * 32 * 16
    mixer = MambaVisionMixer(32, scan_backend='reference')
    x = torch.randn(2, 24, 32)
    found = {phase: count_flops(lambda: mixer(x).sum().backward(), mixer, phase) - scan_flops(
        2, 24, 16, 8, phase) for phase in ('forward', 'training')}
    assert found['forward'] == found['training'] > 0  # without the scan, whose count alone depends on the phase
    assert mixer.scan_backend == 'reference'
    assert scan_flops(1, 1, 1, 8) == 63
