"""The ImageNet configs: the published recipe, written down a second time, and what their files build."""
import math

import pytest
import timm
import torch

pytest.importorskip('mmengine')
pytest.importorskip('mmcv')

from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, PARAM_SCHEDULERS, TRANSFORMS, DefaultScope

from mmvision_mamba.backbones import FAMILY

from ..helpers.published import CONFIGS

# config: arch, published top-1, weight decay, warm-up epochs, image side, timm's name of the weights it aims at
RECIPES = {
    'mambavision_t_in1k': ('tiny', '82.3', 0.05, 20, 224, 'tiny.in1k'),
    'mambavision_t2_in1k': ('tiny2', '82.7', 0.05, 20, 224, 'tiny2.in1k'),
    'mambavision_s_in1k': ('small', '83.3', 0.05, 20, 224, 'small.in1k'),
    'mambavision_b_in1k': ('base', '84.2', 0.075, 35, 224, 'base.in1k'),
    'mambavision_l_in1k': ('large', '85.0', 0.12, 20, 224, 'large.in1k'),
    'mambavision_l2_in1k': ('large2', '85.3', 0.12, 20, 224, 'large2.in1k'),
    'mambavision_l2_in1k-512x512': ('large2', '87.3', 0.12, 20, 512, 'large2.in21k_512'),
    'mambavision_l3_in1k': ('large3', '87.3', 0.12, 20, 256, 'large3.in21k_256'),
    'mambavision_l3_in1k-512x512': ('large3', '88.1', 0.12, 20, 512, 'large3.in21k_512'),
}


@pytest.fixture(autouse=True)
def _scope():
    with DefaultScope.overwrite_default_scope('mmengine'):
        yield


def test_no_config_is_left_out():
    assert {path.stem for path in CONFIGS.glob('*_in1k*.py')} == set(RECIPES)


@pytest.mark.parametrize('name', RECIPES)
def test_recipe(name):
    arch, top1, weight_decay, warmup, side, weights = RECIPES[name]
    cfg = Config.fromfile(CONFIGS / f'{name}.py')
    assert top1 in (CONFIGS / f'{name}.py').read_text()
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
        reference = timm.create_model(f'mambavision_{weights}')
    assert {k.removeprefix('backbone.'): v.shape for k, v in model.state_dict().items()} == {
        k: v.shape for k, v in reference.state_dict().items()}
    for built, expected in zip(model.backbone.levels[2:], reference.levels[2:]):
        assert built.window_size == expected.window_size and built.window_padding == 'zeros'
    rates = [block.drop_path.drop_prob for level in model.backbone.levels for block in level.blocks]
    assert rates[0] == 0 and rates[-1] == pytest.approx(FAMILY[arch].get('drop_path_rate', 0.2))
    assert model.mixup.mixup_alpha == 0.8 and model.mixup.cutmix_alpha == 1. and model.label_smoothing == 0.1

    config = timm.data.resolve_model_data_config(reference)
    assert config.pop('input_size') == (3, side, side)
    expected = timm.data.create_transform((3, side, side), **config)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert repr(TRANSFORMS.build(loader.dataset.pipeline[-1]).transforms) == repr(expected)
    training = repr(TRANSFORMS.build(cfg.train_dataloader.dataset.pipeline[-1]).transforms)
    for part in ('RandomResizedCrop', f'size=({side}, {side})', 'RandAugment', 'RandomErasing'):
        assert part in training
    assert cfg.train_dataloader.dataset.pipeline[-1].auto_augment == 'rand-m9-mstd0.5-inc1'
    assert cfg.train_dataloader.batch_size == 128 and cfg.train_dataloader.dataset.pipeline[-1].re_prob == 0.25

    assert cfg.optim_wrapper.type == 'AmpOptimWrapper' and cfg.optim_wrapper.clip_grad == dict(max_norm=5.)
    assert cfg.optim_wrapper.optimizer == dict(type='Lamb', lr=5e-3, betas=(0.9, 0.999), weight_decay=weight_decay)
    average, teacher = cfg.custom_hooks
    assert (average.type, average.momentum) == ('EMAHook', pytest.approx(1 - 0.9998))
    assert teacher == dict(type='MESAHook', weight=0.5, begin=0.25, temperature=3.)
    assert cfg.auto_scale_lr.base_batch_size == 32 * 128
    assert cfg.train_cfg.max_epochs == 320

    # The learning rate of each epoch, from the schedulers themselves.
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=5e-3)
    schedulers = [PARAM_SCHEDULERS.build(dict(s, optimizer=optimizer, convert_to_iter_based=False))
                  for s in cfg.param_scheduler]
    rates = []
    for _ in range(320):
        rates.append(optimizer.param_groups[0]['lr'])
        for scheduler in schedulers:
            scheduler.step()
    assert rates[0] == pytest.approx(1e-6) and max(rates) == pytest.approx(5e-3)
    assert rates[warmup - 1] == max(rates) and max(rates[:warmup - 1] + rates[warmup + 1:]) < max(rates)
    middle = (warmup + 310) // 2
    assert rates[middle] == pytest.approx(
        5e-6 + (5e-3 - 5e-6) * (1 + math.cos(math.pi * (middle - warmup) / (310 - warmup))) / 2, rel=1e-3)
    assert rates[310:] == pytest.approx([5e-6] * 10, rel=0.05)  # by epochs the last step of the cosine is left out


def test_lamb_spares_what_has_one_dimension():
    cfg = Config.fromfile(CONFIGS / 'mambavision_t_in1k.py')
    cfg.model.backbone.arch = dict(dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))
    model = MODELS.build(cfg.model)
    cfg.optim_wrapper.type = 'OptimWrapper'
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert type(wrapper.optimizer).__module__.startswith('timm.')
    decay = {id(p): group['weight_decay'] for group in wrapper.optimizer.param_groups for p in group['params']}
    for name, parameter in model.named_parameters():
        assert decay[id(parameter)] == (0. if parameter.ndim == 1 else 0.05), name
    model.train()
    before = model.head.weight.clone()
    loss = model(torch.rand(4, 3, 64, 64), torch.arange(4), mode='loss')['loss']
    wrapper.update_params(loss)
    assert not torch.equal(model.head.weight, before)
