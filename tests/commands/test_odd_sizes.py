"""Odd, non-square sizes larger than the padding, through every command that reads images: boxes, masks, segments."""
import json

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from ..helpers import ROOT
from ..helpers.panoptic_data import SIZES, make_panoptic, small_config

SMALL = '''
_base_ = '{root}/configs/{base}.py'
model = dict(backbone=dict(
    arch=dict(_delete_=True, dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)), window_size=(4, 2),
    init_cfg=None), {model})
image, annotations = dict(type='LoadImageFromFile'), dict({annotations})
resize = dict(type='Resize', scale=(99, 77), keep_ratio=True)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False, dataset=dict(
    {train}, pipeline=[image, annotations, resize, dict({pack})]))
val_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(
    {val}, pipeline=[image, resize, annotations, dict({pack})]))
test_dataloader = val_dataloader
custom_imports = dict(_delete_=True, imports=[], allow_failed_imports=False)
'''
NECK = 'neck=dict(in_channels=[16, 32, 64, 128])'
FEW = 'score_thr=0., max_per_img=5'
MODELS_OF = {  # kind: config, its model
    'boxes': ('retinanet_mambavision_t_coco', 'neck=dict(in_channels=[32, 64, 128]), bbox_head=dict('
              f'num_classes=2, stacked_convs=1), test_cfg=dict({FEW})'),
    'masks': ('mask_rcnn_mambavision_t_1x_coco', f'{NECK}, roi_head=dict(bbox_head=dict(num_classes=2, '
              'fc_out_channels=16), mask_head=dict(num_classes=2, num_convs=1)), test_cfg=dict('
              f'rpn=dict(max_per_img=20), rcnn=dict({FEW}))'),
    'segments': ('upernet_mambavision_t_ade20k', 'decode_head=dict(in_channels=[16, 32, 64, 128], channels=16, '
                 'num_classes=4), auxiliary_head=dict(in_channels=64, channels=16, num_classes=4)')}


def detection(kind, root):
    def data(split):
        return (f"data_root='{root}', ann_file='annotations/instances_{split}2017.json', "
                f"data_prefix=dict(img='{split}2017'), metainfo=dict(classes=('cat', 'dog'))")
    base, model = MODELS_OF[kind]
    return SMALL.format(
        root=ROOT, base=base, model=model, train=data('train'), val=data('val'),
        annotations=f"type='LoadAnnotations', with_bbox=True, with_mask={kind == 'masks'}",
        pack="type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')"
    ) + f"val_evaluator = test_evaluator = dict(ann_file='{root}/annotations/instances_val2017.json')\n"


def segmentation(kind, root):
    def data(split):
        return (f"type='BaseSegDataset', data_root='{root}', img_suffix='.jpg', metainfo=dict(classes=tuple('abcd')), "
                f"reduce_zero_label=False, data_prefix=dict(img_path='{split}2017', seg_map_path='maps')")
    (root / 'maps').mkdir()
    for split in ('train', 'val'):
        for path in (root / f'{split}2017').glob('*.jpg'):
            width, height = Image.open(path).size
            labels = np.arange(height * width).reshape(height, width) // 300 % 5
            Image.fromarray(np.where(labels == 4, 255, labels).astype(np.uint8)).save(root / f'maps/{path.stem}.png')
    base, model = MODELS_OF[kind]
    return SMALL.format(root=ROOT, base=base, model=model, train=data('train'), val=data('val'),
                        annotations="type='LoadAnnotations'", pack="type='PackSegInputs'")


def panoptic(kind, root):
    return small_config(root)


@pytest.fixture
def prepared(request, tmp_path):
    """(config file, checkpoint with weights as they are made, folder of data) of a kind of model."""
    write = dict(boxes=detection, masks=detection, segments=segmentation, panoptic=panoptic)[request.param]
    root, path = make_panoptic(tmp_path / 'data', train=2, val=4), tmp_path / f'{request.param}.py'
    path.write_text(write(request.param, root))
    cfg = Config.fromfile(path)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    checkpoint = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), checkpoint)
    return path, checkpoint, root


@pytest.mark.parametrize('prepared', ['boxes', 'masks', 'segments', 'panoptic'], indirect=True)
def test_data(prepared, tool, tmp_path):
    config, _, _ = prepared
    result = tool('check_dataset', config, '--split', 'train,val', '--workers', 0)
    assert result.code == 0 and '0 errors' in result.out, result.out + result.err
    for split in ('train', 'val'):
        result = tool('browse_dataset', config, '--split', split, '--out', tmp_path / f'{split}.png')
        assert result.code == 0, result.err[-3000:]
        assert np.array(Image.open(tmp_path / f'{split}.png')).std() > 10


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize('prepared', ['boxes', 'masks', 'segments', 'panoptic'], indirect=True)
def test_predictions(prepared, tool, tmp_path):
    config, checkpoint, root = prepared
    sizes = {f'{1000 + i:012}': size[::-1] for i, size in enumerate(SIZES)}
    result = tool('test', config, checkpoint, '--work-dir', tmp_path / 'test', '--show-dir', tmp_path / 'shown')
    assert result.code == 0, result.err[-3000:]
    assert json.loads((tmp_path / 'test/metrics.json').read_text())
    assert len(list((tmp_path / 'shown').rglob('*.jpg'))) == 4
    result = tool('infer', config, checkpoint, root / 'val2017', '--out-dir', tmp_path / 'infer', '--batch-size', 3)
    assert result.code == 0, result.err[-3000:]
    assert len(list((tmp_path / 'infer/vis').rglob('*.jpg'))) == 4
    for path in (tmp_path / 'infer/preds').rglob('*.png'):  # segments
        assert Image.open(path).size == sizes[path.stem]
    result = tool('batch_infer', config, checkpoint, root / 'val2017', '--out', tmp_path / 'batch', '--format', 'coco')
    assert result.code == 0, result.err[-3000:]
    image = root / 'val2017/000000001001.jpg'
    result = tool('attention_maps', config, checkpoint, image, '--out', tmp_path / 'maps.png')
    assert result.code == 0, result.err[-3000:]
    result = tool('confusion', config, checkpoint, '--out-dir', tmp_path / 'confusion')
    assert result.code == 0, result.err[-3000:]
    if config.stem in ('boxes', 'masks'):
        result = tool('test', config, checkpoint, '--work-dir', tmp_path / 'tta', '--tta')
        assert result.code == 0, result.err[-3000:]
