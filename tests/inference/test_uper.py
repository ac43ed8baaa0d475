"""UPerHead's cheaper last convolution, against the head as mmseg computes it."""
import copy

import pytest
import torch
from mmengine.config import Config

from mmvision_mamba.inference import Inferencer
from mmvision_mamba.inference.uper import _plain_feature, speed_up_on_cpus

pytest.importorskip('mmseg')
from mmseg.models.decode_heads import FCNHead, UPerHead

COMMON = dict(in_channels=[8, 16, 24, 32], in_index=[0, 1, 2, 3], channels=12, num_classes=5, dropout_ratio=0.1)


def upper_head(**options):
    torch.manual_seed(0)
    head = UPerHead(**{**COMMON, 'pool_scales': (1, 2, 3, 6), 'norm_cfg': dict(type='BN'), 'align_corners': False,
                       **options})
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return head.eval()


def maps(height, width, batch=2):
    torch.manual_seed(1)
    return [torch.randn(batch, channels, -(-height // 2**i), -(-width // 2**i))
            for i, channels in enumerate(COMMON['in_channels'])]


@pytest.mark.parametrize('size', [(32, 32), (17, 33), (45, 20)])
@pytest.mark.parametrize('options', [{}, dict(norm_cfg=None)], ids=['norm', 'bias'])
def test_the_same_logits(size, options):
    head = upper_head(**options)
    sped_up = copy.deepcopy(head)
    speed_up_on_cpus(sped_up)
    assert list(sped_up.state_dict()) == list(head.state_dict())
    with torch.no_grad():
        expected = head.double()([x.double() for x in maps(*size)])
        logits = sped_up(maps(*size))
    assert logits.shape == expected.shape and (logits - expected).norm() < 1e-5 * expected.norm()


def calls(head):
    """How often the last convolution is called as mmseg does, from now on."""
    count = []
    head.fpn_bottleneck.conv.register_forward_hook(lambda *_: count.append(1))
    return count


def test_changed_weights_count():
    """They are read at each call: a checkpoint may be loaded later."""
    head, other = upper_head(), upper_head()
    with torch.no_grad():
        other.fpn_bottleneck.conv.weight.mul_(-2)
    speed_up_on_cpus(head)
    head.load_state_dict(other.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(head(maps(16, 24)), other(maps(16, 24)), rtol=1e-4, atol=1e-4)


def test_where_it_is_left_to_mmseg():
    head = upper_head()
    speed_up_on_cpus(head)
    count = calls(head)
    head(maps(16, 16))
    with torch.no_grad():
        head(maps(16, 16))
        assert not count
        with torch.autocast('cpu', torch.bfloat16):
            head(maps(16, 16))
    head.double()([x.double() for x in maps(16, 16)])
    assert len(count) == 2


def test_the_same_gradients():
    """Of the parameters and the maps, in training mode; a bias before a norm has none but rounding."""
    head = upper_head(dropout_ratio=0).train()
    sped_up = copy.deepcopy(head)
    speed_up_on_cpus(sped_up)
    results = []
    for module, dtype in ((head.double(), torch.float64), (sped_up, torch.float32)):
        leaves = [x.to(dtype).requires_grad_() for x in maps(17, 33)]
        module(leaves).sin().sum().backward()
        results.append({name: x.grad for name, x in [*module.named_parameters(), *enumerate(leaves)]})
    for name, expected in results[0].items():
        assert (results[1][name] - expected).norm() <= 1e-4 * expected.norm() + 1e-3, name
    assert results[0]['fpn_bottleneck.conv.weight'].norm() > 1


@pytest.mark.parametrize('build', [lambda: upper_head(align_corners=True),
                                   lambda: FCNHead(in_channels=8, channels=4, num_classes=3)])
def test_other_heads_stay(build):
    head = build()
    speed_up_on_cpus(head)
    assert '_forward_feature' not in vars(head)


def test_copies_have_a_head_of_their_own():
    head = upper_head()
    speed_up_on_cpus(head)
    copied = copy.deepcopy(head)
    assert copied._forward_feature.args[0] is copied


def test_the_inferencer_computes_so(tmp_path):
    from ..helpers.small_configs import SEGMENTOR
    (tmp_path / 'config.py').write_text(SEGMENTOR)
    with pytest.warns(UserWarning, match='random weights'):
        inferencer = Inferencer(Config.fromfile(tmp_path / 'config.py'), device='cpu', show_progress=False)
    assert inferencer.model.decode_head._forward_feature.func is _plain_feature
