"""Families of mmdet and mmseg that no config here builds on: their own files with the backbone put in, as users do."""
import importlib
import math
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from mmvision_mamba import MambaVision
from mmvision_mamba.preflight.check_model import check_model

from ..helpers.neighbours import ARCH, build, detection_batch, segmentation_batch

pytestmark = pytest.mark.filterwarnings('ignore')

BACKBONE = dict(_delete_=True, type='MambaVision', arch=ARCH, window_size=(4, 2))
DEEP = dict(BACKBONE, out_indices=(1, 2, 3))
NECK = dict(in_channels=[32, 64, 128, 256])
MODEL = dict(backbone=BACKBONE, neck=NECK)
DENSE = dict(backbone=DEEP, neck=dict(in_channels=[64, 128, 256], start_level=0))  # an FPN that had start_level=1
SEGMENTOR = dict(backbone=BACKBONE, pretrained=None, data_preprocessor=dict(size=(64, 64)))

TRAINED = {
    'mmdet/condinst/condinst_r50_fpn_ms-poly-90k_coco_instance.py': DENSE,
    'mmdet/detr/detr_r50_8xb2-150e_coco.py': dict(
        backbone=dict(BACKBONE, out_indices=(3,)), neck=dict(in_channels=[256]), num_queries=20,
        encoder=dict(num_layers=1), decoder=dict(num_layers=2), test_cfg=dict(max_per_img=20)),
    'mmdet/gfl/gfl_r50_fpn_1x_coco.py': DENSE,
    'mmdet/yolof/yolof_r50-c5_8xb8-1x_coco.py': dict(
        backbone=dict(BACKBONE, out_indices=(3,), frozen_stages=1, norm_eval=True), neck=dict(in_channels=256)),
    'mmdet/yolox/yolox_s_8xb8-300e_coco.py': dict(backbone=DEEP, neck=dict(in_channels=[64, 128, 256])),
    'mmseg/ccnet/ccnet_r50-d8_4xb4-80k_ade20k-512x512.py': dict(
        SEGMENTOR, decode_head=dict(in_channels=256), auxiliary_head=dict(in_channels=128)),
    'mmseg/point_rend/pointrend_r50_4xb4-160k_ade20k-512x512.py': dict(SEGMENTOR, neck=NECK),
    'mmseg/segnext/segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512.py': dict(
        SEGMENTOR, decode_head=dict(in_channels=[64, 128, 256])),
}
# Models in models, and classes that are not the data set's.
CHECKED = {
    'mmdet/ocsort/ocsort_yolox_x_8xb4-amp-80e_crowdhuman-mot17halftrain_test-mot17halfval.py': dict(
        detector=dict(backbone=DEEP, neck=dict(in_channels=[64, 128, 256]))),
    'mmdet/panoptic_fpn/panoptic-fpn_r50_fpn_1x_coco.py': MODEL,
    'mmdet/qdtrack/qdtrack_faster-rcnn_r50_fpn_8xb2-4e_mot17halftrain_test-mot17halfval.py': dict(detector=MODEL),
    'mmdet/scnet/scnet_r50_fpn_1x_coco.py': MODEL,
    'mmdet/soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py': dict(detector=MODEL),
}


def stock(path, model, tmp_path):
    """The toolbox's own config with these changes to its model, as a user's file makes them."""
    scope, _, name = path.partition('/')
    base = Path(importlib.import_module(scope).__file__).parent / '.mim/configs' / name
    mine = tmp_path / 'mine.py'
    mine.write_text(f'_base_ = {str(base)!r}\ncustom_imports = dict(imports=["mmvision_mamba"])\nmodel = {model}\n')
    return Config.fromfile(mine)


@pytest.mark.parametrize('path', TRAINED)
def test_a_training_step(path, tmp_path):
    cfg = stock(path, TRAINED[path], tmp_path)
    check_model(cfg, ('train', 'val'))
    cfg.model.data_preprocessor.pop('batch_augments', None)
    detector = cfg.default_scope == 'mmdet'
    model = build(cfg)
    assert type(model.backbone) is MambaVision
    reached = set()
    for name, p in model.backbone.named_parameters():
        if p.requires_grad:
            p.register_post_accumulate_grad_hook(lambda p, name=name: reached.add(name))
    batch = detection_batch(cfg, 80) if detector else segmentation_batch(150)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        losses = model.train_step(batch, build_optim_wrapper(model, cfg.optim_wrapper))
        assert all(math.isfinite(float(loss)) for loss in losses.values() if loss.numel() == 1)
        model.eval()
        with torch.no_grad():
            assert len(model.test_step(batch)) == 2
    missed = {name for name, p in model.backbone.named_parameters() if p.requires_grad} - reached
    unread = dict(ccnet=('outnorm0', 'outnorm1'), segnext=('outnorm0',))  # heads that choose stages by in_index
    assert all(name.startswith(unread.get(path.split('/')[1], ())) for name in missed), missed


@pytest.mark.parametrize('path', CHECKED)
def test_what_the_checks_say(path, tmp_path):
    check_model(stock(path, CHECKED[path], tmp_path), ('train', 'val'))
