"""Each neighbour's config: built, run forward and backward, and stepped by its own optimiser's settings."""
import math
import re

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, DefaultScope

from mmvision_mamba.commands.steps.prepare import prepare_device
from mmvision_mamba.datasets import make_shapes
from mmvision_mamba.engine.hooks.safe_checkpoint import SafeCheckpointHook
from mmvision_mamba.preflight.datasets import datasets_of, override_data_root

from ..helpers.neighbours import (
    CONFIGS,
    MASKS,
    NEIGHBOURS,
    STRONG,
    build,
    detection_batch,
    load,
    on_shapes,
    segmentation_batch,
    shrink,
    take,
)
from ..helpers.published import RECIPES, TINY, strings

pytestmark = pytest.mark.filterwarnings('ignore')


def classes_of(cfg):
    _, dataset, cls = datasets_of(cfg, 'train')[0]
    return cls._load_metainfo(dataset.get('metainfo'))['classes']


@pytest.mark.parametrize('name', NEIGHBOURS + STRONG)
def test_the_model_can_be_built_at_its_own_size(name):
    """Numbers that must divide each other do in the shrunk models below, whatever the config has."""
    cfg = load(name)
    with torch.device('meta'), DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    assert sum(parameter.numel() for parameter in model.parameters()) > 25e6


@pytest.mark.parametrize('name', NEIGHBOURS + STRONG)
def test_a_training_step(name, capsys):
    cfg = shrink(load(name))
    prepare_device(cfg)  # mixed precision is for GPUs
    model = build(cfg)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        classes = len(classes_of(cfg))
        batch = detection_batch(cfg, classes) if cfg.default_scope == 'mmdet' else segmentation_batch(classes)
        before = {k: p.detach().clone() for k, p in model.named_parameters()}
        losses = model.train_step(batch, wrapper)
        assert losses and all(math.isfinite(float(loss)) for loss in losses.values() if loss.numel() == 1)
        unmoved = [k for k, p in model.named_parameters() if 'backbone' in k and torch.equal(p, before[k])]
        assert not unmoved  # no part of the backbone is left out of the loss
        model.eval()
        with torch.no_grad():
            results = model.test_step(batch)
    assert len(results) == 2
    if cfg.default_scope == 'mmseg':
        assert all(r.pred_sem_seg.data.shape == (1, 64, 64) for r in results)
        assert all(r.seg_logits.data.shape[0] == classes for r in results)
    elif 'panoptic' not in name:
        assert all(('masks' in r.pred_instances) == name.startswith(MASKS) for r in results)


def test_no_neighbour_is_left_out():
    own = {path.stem for path in CONFIGS.glob('*.py')
           if path.stem.endswith(('coco', 'coco-panoptic', 'ade20k', 'cityscapes', 'voc0712', 'voc12', 'lvis'))}
    assert {name for name in own - set(RECIPES) if '_fsdp_' not in name} == {*NEIGHBOURS, *STRONG}


@pytest.mark.parametrize('name', NEIGHBOURS + STRONG)
def test_the_file(name):
    lines = (CONFIGS / f'{name}.py').read_text().splitlines()
    assert lines[0].startswith('# ') and len(lines) < 50
    assert f'(../configs/{name}.py)' in (CONFIGS.parent / 'docs/recipes.md').read_text()
    assert TINY in strings(load(name).model.backbone.to_dict())


@pytest.mark.parametrize('name', NEIGHBOURS)
def test_one_variable_moves_all_data(name, monkeypatch):
    variable, default = next((v, d) for data, v, d in (
        ('coco', 'COCO_ROOT', 'data/coco'), ('ade20k', 'ADE20K_ROOT', 'data/ade'),
        ('cityscapes', 'CITYSCAPES_ROOT', 'data/cityscapes'), ('voc', 'VOC_ROOT', 'data/VOCdevkit'),
        ('lvis', 'LVIS_ROOT', 'data/lvis_v1')) if data in name)

    def places(cfg):  # what is read; a base's variables may keep the old place
        keys = [f'{split}_{part}' for split in ('train', 'val', 'test') for part in ('dataloader', 'evaluator')]
        return strings([cfg.get(key, {}) if key == 'train_evaluator' else cfg[key] for key in keys])

    monkeypatch.delenv(variable, raising=False)
    at_default = places(load(name).to_dict())
    monkeypatch.setenv(variable, '/mnt/all data')
    moved = places(load(name).to_dict())
    assert moved == [re.sub(f'^{default}(?=/|$)', '/mnt/all data', text) for text in at_default]
    assert sum(text.startswith('/mnt/all data') for text in moved) >= 3
    override_data_root(cfg := load(name), '/other')
    assert places(cfg.to_dict()) == [re.sub(r'^/mnt/all data(?=/|$)', '/other', text) for text in moved]


# What the methods' authors, or mmdet and mmseg, train with: optimiser, length, images that the rate is for.
@pytest.mark.parametrize(('name', 'lr', 'decay', 'length', 'batch'), [
    ('faster_rcnn_mambavision_t_coco', 1e-4, 0.05, 12, 16),
    ('mask_rcnn_mambavision_t_1x_coco', 1e-4, 0.05, 12, 16),
    ('mask_rcnn_mambavision_t_ms-3x_coco', 1e-4, 0.05, 36, 16),
    ('cascade_rcnn_mambavision_t_coco', 1e-4, 0.05, 12, 16),
    ('retinanet_mambavision_t_coco', 1e-4, 0.05, 12, 16),
    ('fcos_mambavision_t_coco', 1e-4, 0.05, 12, 16),
    ('atss_mambavision_t_coco', 1e-4, 0.05, 12, 16),
    ('solov2_mambavision_t_coco', 1e-4, 0.05, 12, 16),
    ('rtmdet_mambavision_t_coco', 1e-3, 0.05, 100, 128),
    ('deformable_detr_mambavision_t_coco', 2e-4, 1e-4, 50, 32),
    ('dino_mambavision_t_coco', 1e-4, 1e-4, 12, 16),
    ('mask2former_mambavision_t_coco', 1e-4, 0.05, 368750, 16),
    ('mask2former_mambavision_t_coco-panoptic', 1e-4, 0.05, 368750, 16),
    ('mask_rcnn_mambavision_t_cityscapes', 5e-5, 0.05, 8, 8),
    ('mask_rcnn_mambavision_t_lvis', 1e-4, 0.05, 12, 16),
    ('faster_rcnn_mambavision_t_voc0712', 1e-4, 0.05, 4, 16),
    ('fcn_mambavision_t_ade20k', 5e-5, 0.01, 160000, 16),
    ('pspnet_mambavision_t_ade20k', 5e-5, 0.01, 160000, 16),
    ('deeplabv3plus_mambavision_t_ade20k', 5e-5, 0.01, 160000, 16),
    ('segformer_mambavision_t_ade20k', 6e-5, 0.01, 160000, 16),
    ('semantic_fpn_mambavision_t_ade20k', 2e-4, 1e-4, 80000, 16),
    ('mask2former_mambavision_t_ade20k', 1e-4, 0.05, 160000, 16),
    ('upernet_mambavision_t_cityscapes', 5e-5, 0.01, 80000, 8),
    ('deeplabv3plus_mambavision_t_voc12', 5e-5, 0.01, 80000, 16)])
def test_schedule(name, lr, decay, length, batch):
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ('AdamW', lr, decay)
    assert cfg.train_cfg.get('max_epochs', cfg.train_cfg.get('max_iters')) == length
    assert cfg.auto_scale_lr.base_batch_size == batch and not cfg.auto_scale_lr.get('enable', False)
    schedulers = cfg.param_scheduler if isinstance(cfg.param_scheduler, list) else [cfg.param_scheduler]
    assert schedulers[-1].end == length
    assert all(milestone < length for milestone in schedulers[-1].get('milestones', []))
    norms = [v for k, v in cfg.optim_wrapper.paramwise_cfg.get('custom_keys', {}).items() if 'norm' in k]
    assert all(v.decay_mult == 0 for v in norms)
    if name.startswith(('deformable_detr', 'dino', 'mask2former')):
        assert cfg.optim_wrapper.paramwise_cfg.custom_keys.backbone.lr_mult == 0.1
    clipped = {'deformable_detr': 0.1, 'dino': 0.1, 'mask2former': 0.01, 'fcos': 35, 'solov2': 35}
    assert (cfg.optim_wrapper.get('clip_grad') or {}).get('max_norm') == next(
        (norm for method, norm in clipped.items() if name.startswith(method)), None)


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*.py')), ids=lambda path: path.stem)
def test_the_best_checkpoint_can_be_told(path):
    """mmengine knows of few metrics whether more is better."""
    hook = load(path.stem).default_hooks.checkpoint
    assert SafeCheckpointHook(**{k: v for k, v in hook.items() if k != 'type'}).rules == ['greater']


@pytest.mark.parametrize('name', STRONG)
def test_strong_fine_tuning(name):
    cfg = shrink(load(name))
    prepare_device(cfg)
    model = build(cfg)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    assert wrapper.clip_grad_kwargs['max_norm'] == 1
    names = {p: n for n, p in model.named_parameters()}
    for group in wrapper.optimizer.param_groups:
        for p in group['params']:
            spared = p.ndim == 1 or names[p].endswith('A_log')
            assert group['weight_decay'] == (0 if spared else 0.05), names[p]
    rates = {names[p]: g['lr'] for g in wrapper.optimizer.param_groups for p in g['params']}
    base = cfg.optim_wrapper.optimizer.lr
    # Six blocks: the last one's factor is 0.9, the stem's 0.9 to the seventh.
    assert rates['backbone.levels.3.blocks.1.mlp.fc1.weight'] == pytest.approx(0.9 * base)
    assert rates['backbone.patch_embed.conv_down.0.weight'] == pytest.approx(0.9**7 * base)
    ema, = cfg.custom_hooks
    assert (ema.type, ema.ema_type, ema.momentum) == ('EMAHook', 'mmdet.ExpMomentumEMA', 0.0002)


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
    root = tmp_path_factory.mktemp('data') / 'shapes'
    make_shapes(root, train=8, val=1, size=(64, 64))
    return root


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize('name', NEIGHBOURS)
def test_learns_shapes(name, shapes):
    """Forty iterations over eight pictures through the config's own losses: the total falls.

    Not counted is the box regression of a second stage: as proposals get better there is more to regress.
    """
    torch.manual_seed(0)
    cfg = on_shapes(shrink(load(name)), shapes)
    two_stages = 'roi_head' in cfg.model
    prepare_device(cfg)
    model = build(cfg)
    model.backbone.init_weights()
    cfg.optim_wrapper.optimizer.lr = 3e-4 if two_stages else 1e-3  # from scratch; wide linear layers die at the latter
    for key, item in cfg.optim_wrapper.paramwise_cfg.get('custom_keys', {}).items():
        if 'backbone' in key or 'norm' in key:
            item.pop('lr_mult', None)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        found = []
        for i in range(40):
            log = model.train_step(take(dataset, ((2 * i) % 8, (2 * i + 1) % 8)), wrapper)
            found.append(float(log['loss']) - sum(
                float(loss) for key, loss in log.items() if two_stages and key.endswith('loss_bbox')))
    assert all(math.isfinite(loss) for loss in found)
    assert sum(found[-8:]) < 0.9 * sum(found[:8]), found
