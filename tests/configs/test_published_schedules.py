"""How the COCO and ADE20K configs train, against the published recipes."""
import re

from mmengine.optim import build_optim_wrapper

from ..helpers.published import RECIPES, build, each, each_detector, each_segmentor, load


@each
def test_optimiser(name):
    recipe, cfg = RECIPES[name], load(name)
    assert cfg.optim_wrapper.type == recipe.optim_wrapper
    # The wrapper's defaults: float16, dynamic loss scale, nothing clipped or accumulated.
    assert set(cfg.optim_wrapper) == {'type', 'optimizer', 'paramwise_cfg'}
    assert cfg.optim_wrapper.optimizer == dict(
        type='AdamW', lr=recipe.lr, betas=(0.9, 0.999), weight_decay=recipe.weight_decay)
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=16)
    assert 'custom_hooks' not in cfg


@each
def test_only_norms_by_name_are_not_decayed(name):
    model = build(name)
    optim_wrapper = dict(load(name).optim_wrapper, type='OptimWrapper')  # the AMP wrapper wants a GPU
    groups = build_optim_wrapper(model, optim_wrapper).optimizer.param_groups
    decay = {id(parameter): group['weight_decay'] for group in groups for parameter in group['params']}
    names = dict(model.named_parameters())
    assert len(decay) == len(names)
    spared = re.compile(r'backbone\.(levels\.\d\.blocks\.\d+\.norm[12]|outnorm\d)\.(weight|bias)')
    expected = {key: 0. if spared.fullmatch(key) else RECIPES[name].weight_decay for key in names}
    assert {key: decay[id(parameter)] for key, parameter in names.items()} == expected
    assert 0. in expected.values()


@each_detector
def test_detection_schedule(name):
    cfg = load(name)
    assert cfg.train_cfg == dict(type='EpochBasedTrainLoop', max_epochs=36, val_interval=1)
    assert cfg.param_scheduler == [
        dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
        dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[27, 33], gamma=0.1)]
    assert cfg.default_hooks.checkpoint == dict(
        type='CheckpointHook', interval=1, save_best='coco/bbox_mAP', max_keep_ckpts=2)
    assert not cfg.env_cfg.cudnn_benchmark


@each_segmentor
def test_segmentation_schedule(name):
    cfg = load(name)
    assert cfg.train_cfg == dict(
        type='IterBasedTrainLoop', max_iters=160000, val_interval=RECIPES[name].val_interval)
    assert cfg.param_scheduler == [
        dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
        dict(type='PolyLR', power=1.0, eta_min=0., by_epoch=False, begin=1500, end=160000)]
    assert cfg.default_hooks.checkpoint == dict(
        type='CheckpointHook', by_epoch=False, interval=10000, save_best='mIoU', max_keep_ckpts=2)
    assert not cfg.log_processor.by_epoch
    assert cfg.env_cfg.cudnn_benchmark


def test_other_segmentors_keep_the_bases_intervals():
    cfg = load('pspnet_mambavision_t_ade20k')
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 16000
