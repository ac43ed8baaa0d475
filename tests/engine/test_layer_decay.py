"""Layer-wise learning-rate decay: each parameter's rate and weight decay against the formula, written down again."""
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmvision_mamba import MambaVision, MM_mamba_vision
from mmvision_mamba.backbones.family import FAMILY
from mmvision_mamba.engine import LayerDecayOptimWrapperConstructor
from mmvision_mamba.errors import ConfigError

LR, WEIGHT_DECAY = 1e-3, 0.05


class Detector(nn.Module):
    def __init__(self, arch='tiny', **options):
        super().__init__()
        self.backbone = MambaVision(arch, **options)
        self.neck = nn.Conv2d(8, 8, 1)
        self.bbox_head = nn.Sequential(nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8))


def detector(*args, **options):
    with torch.device('meta'):
        return Detector(*args, **options)


def settings(model, **paramwise_cfg):
    """{name: (factor of the learning rate, factor of the weight decay)}"""
    wrapper = build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='AdamW', lr=LR, weight_decay=WEIGHT_DECAY),
        constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=paramwise_cfg))
    names = {p: n for n, p in model.named_parameters()}
    found = {names[p]: (g['lr'] / LR, g['weight_decay'] / WEIGHT_DECAY)
             for g in wrapper.optimizer.param_groups for p in g['params']}
    assert len(found) == sum(len(g['params']) for g in wrapper.optimizer.param_groups)
    return found


@pytest.mark.parametrize('arch', FAMILY)
def test_layer_wise(arch):
    model, rate = detector(arch), 0.8
    found = settings(model, decay_rate=rate, decay_type='layer_wise', num_layers=sum(FAMILY[arch]['depths']))
    assert found == settings(model, decay_rate=rate)  # the default type, and the depth is the model's
    assert set(found) == {name for name, _ in model.named_parameters()}
    depths = FAMILY[arch]['depths']
    blocks = [f'backbone.levels.{i}.blocks.{j}.' for i in range(4) for j in range(depths[i])]
    count = len(blocks)
    layers = {'backbone.patch_embed.': 0, **{name: i + 1 for i, name in enumerate(blocks)}}
    for i in range(3):  # the way into the next stage is part of that stage's first layer
        layers[f'backbone.levels.{i}.downsample.'] = layers[f'backbone.levels.{i + 1}.blocks.0.']
    for name, (lr, decay) in found.items():
        layer = next((layer for start, layer in layers.items() if name.startswith(start)), count + 1)
        assert lr == pytest.approx(rate ** (count + 1 - layer)), name
        assert decay == pytest.approx(1), name  # not asked for
    assert found['neck.weight'][0] == found['bbox_head.0.bias'][0] == found['backbone.outnorm2.weight'][0] == 1
    assert found[f'{blocks[-1]}mlp.fc1.weight'][0] == pytest.approx(rate)


def test_stage_wise():
    found = settings(detector('small'), decay_rate=0.5, decay_type='stage_wise', num_layers=4)
    exponents = {'patch_embed.conv_down.0.weight': 5, 'levels.0.blocks.2.conv1.weight': 4,
                 'levels.0.downsample.reduction.0.weight': 3, 'levels.1.blocks.0.conv1.weight': 3,
                 'levels.2.blocks.0.mixer.A_log': 2, 'levels.2.blocks.6.mixer.qkv.weight': 2,
                 'levels.2.downsample.reduction.0.weight': 1, 'levels.3.blocks.4.norm1.weight': 1, 'outnorm0.weight': 0}
    for name, exponent in exponents.items():
        assert found[f'backbone.{name}'][0] == pytest.approx(0.5**exponent), name


@pytest.mark.parametrize('asked', [True, False])
def test_no_weight_decay_where_asked(asked):
    options = dict(flat_decay_mult=0., custom_keys={'A_log': dict(decay_mult=0.)}) if asked else {}
    model = detector('base')  # has layer scale
    found = settings(model, decay_rate=0.9, **options)
    spared = {n for n, p in model.named_parameters() if p.ndim == 1 or n.endswith('A_log')}
    kinds = {n.rsplit('.', 1)[1] for n in spared if 'backbone' in n}
    assert kinds == {'weight', 'bias', 'A_log', 'D', 'gamma_1', 'gamma_2'}
    assert {n for n, (_, decay) in found.items() if not decay} == (spared if asked else set())
    # A custom key's own multiplier of the rate comes on top of the layer's.
    doubled = settings(model, decay_rate=0.9, custom_keys={'mixer.A_log': dict(lr_mult=2.)})
    for name in found:
        assert doubled[name][0] == pytest.approx(found[name][0] * (2 if 'A_log' in name else 1)), name


def test_few_groups_and_the_schedule_keeps_their_ratios():
    model = detector()
    wrapper = build_optim_wrapper(model, dict(
        type='OptimWrapper', optimizer=dict(type='AdamW', lr=LR, weight_decay=0.05),
        constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(decay_rate=0.9, flat_decay_mult=0.)))
    groups = wrapper.optimizer.param_groups
    assert len(groups) <= 2 * (16 + 2)
    assert wrapper.get_lr()['base_lr'] == [LR]
    from mmengine.optim import LinearLR
    before = [group['lr'] for group in groups]
    LinearLR(wrapper, start_factor=0.5, by_epoch=False, begin=0, end=10)
    assert [group['lr'] for group in groups] == pytest.approx([lr / 2 for lr in before])


def test_frozen_stages_part_of_the_network_and_the_published_name():
    model = detector('tiny', frozen_stages=2, out_indices=(1, 2))
    found = settings(model, decay_rate=0.5)
    frozen = ('backbone.patch_embed.', 'backbone.levels.0.', 'backbone.levels.1.')
    assert not any(name.startswith(frozen) for name in found)
    assert found['backbone.levels.2.blocks.7.mlp.fc1.weight'][0] == 0.5  # the last of the 12 blocks that there are
    with torch.device('meta'):
        model.backbone = MM_mamba_vision(dim=16, in_dim=8, depths=(1, 1, 2, 2), window_size=(8, 8, 4, 4), mlp_ratio=4,
                                         num_heads=(1, 1, 2, 4))
        whole = MambaVision()
    assert settings(model, decay_rate=0.5)['backbone.patch_embed.conv_down.0.weight'][0] == 0.5**7
    assert settings(whole, decay_rate=0.5)['levels.3.blocks.3.norm2.bias'][0] == 0.5  # a backbone by itself


@pytest.mark.parametrize(('paramwise_cfg', 'message'), [
    (dict(decay_rat=0.9), "no key 'decay_rat' (did you mean 'decay_rate'?); valid ones: decay_rate, decay_type"),
    (dict(decay_rate=0.9, norm_decay=0), "no key 'norm_decay' (did you mean 'norm_decay_mult'?)"),
    (dict(decay_rate=1, custom_keys={'A_log': dict(decay_mul=0)}), "no key 'decay_mul' (did you mean 'decay_mult'?)"),
    (dict(decay_rate=0.9, custom_keys={'A_lg': dict(decay_mult=0.)}), "contains 'A_lg' (did you mean 'A_log'?)"),
    (dict(decay_rate=0.9, decay_type='block_wise'), "decay_type must be one of ('layer_wise', 'stage_wise')"),
    (dict(decay_rate=1.1), 'decay_rate must be in (0, 1], got 1.1'),
    (dict(), 'decay_rate must be in (0, 1], got None'),
    (dict(decay_rate=0.9, num_layers=12), 'num_layers=12, but this MambaVision has 16 blocks'),
    (dict(decay_rate=0.9, num_layers=12, decay_type='stage_wise'), 'has 4 stages')])
def test_wrong_settings(paramwise_cfg, message):
    with pytest.raises(ConfigError) as error:
        settings(detector(), **paramwise_cfg)
    assert message in str(error.value)


def test_a_model_without_one():
    with pytest.raises(ConfigError, match='there is none in Conv2d'):
        settings(nn.Conv2d(1, 1, 1), decay_rate=0.9)


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_found_from_both_toolboxes(scope):
    pytest.importorskip(scope)
    import importlib
    registry = importlib.import_module(f'{scope}.registry').OPTIM_WRAPPER_CONSTRUCTORS
    assert registry.get('LayerDecayOptimWrapperConstructor') is LayerDecayOptimWrapperConstructor
