"""docs/data.md, done: folders of one's own, split, trained on, tested, and started from other classes."""
import json

import pytest
import torch

from ..helpers import ROOT, formats
from ..helpers.custom_folders import coco, image_mask

CONFIG = '''
_base_ = '{root}/configs/{base}.py'
model = dict(backbone=dict(
    arch=dict(_delete_=True, dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)), window_size=(4, 2),
    init_cfg=None), {model})
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False{train})
val_dataloader = dict(num_workers=0, persistent_workers=False{val})
test_dataloader = val_dataloader
train_cfg = dict({length})
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=2)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1, save_best=None))
custom_imports = dict(_delete_=True, imports=[], allow_failed_imports=False)
'''


@pytest.fixture
def config(tmp_path):
    """A custom config with a small network and small pictures."""
    def write(base, model, length):
        seg = base.startswith('upernet')
        load = "dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'"
        load += ')' if seg else f", with_bbox=True, with_mask={'mask' in base})"
        meta = "meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')"
        pack = "dict(type='PackSegInputs')" if seg else f"dict(type='PackDetInputs', {meta})"
        pipeline = f"[{load}, dict(type='Resize', scale=(80, 64), keep_ratio=True), {pack}]"
        path = tmp_path / f'{base}_small.py'
        data = f', dataset=dict(pipeline={pipeline})'
        path.write_text(CONFIG.format(root=ROOT, base=base, model=model, length=length, train=data, val=data))
        return path
    return write


def log_of(folder):
    return next(folder.glob('*/*.log')).read_text()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize('base', ['cascade_mask_rcnn_mambavision_t_custom', 'faster_rcnn_mambavision_t_custom'])
def test_detector(base, tool, config, tmp_path):
    masks = 'mask' in base
    root = coco(tmp_path / 'my data', {'annotations.json': 'pictures'}, ids=(3, 40), masks='rle' if masks else None,
                count=5)
    box_head = 'bbox_head=dict(fc_out_channels=16)'
    if masks:
        box_head = "mask_head=dict(num_convs=1)"
    path = config(base, f'neck=dict(in_channels=[16, 32, 64, 128]), roi_head=dict({box_head}), '
                  "test_cfg=dict(rcnn=dict(score_thr=0.))", 'max_epochs=1')
    options = ('--cfg-options', f'data_root={root}')
    result = tool('train', path, '--work-dir', tmp_path / 'wd', *options)
    assert result.code == 2 and 'mmvision-mamba split-dataset' in result.err and not (tmp_path / 'wd').exists()
    assert tool('split_dataset', root, '--val', '0.4').out.count('images') == 2
    result = tool('train', path, '--work-dir', tmp_path / 'wd', *options)
    assert result.code == 0, result.err[-3000:]
    assert f'Data: {root}: 2 classes (cat, dog); train: 3 images, splits/train.json; val: 2 images' in result.out
    # 16 images were meant, there are two
    assert 'Scaling the original LR by 0.125' in log_of(tmp_path / 'wd')
    key = f'roi_head.bbox_head.{"0." if masks else ""}fc_cls.weight'
    weights = torch.load(tmp_path / 'wd/epoch_1.pth', weights_only=False)
    assert weights['state_dict'][key].shape[0] == 3 and weights['meta']['dataset_meta']['classes'] == ('cat', 'dog')
    # The config in the work directory is an ordinary one, with the data's classes in it.
    dumped = tmp_path / 'wd' / path.name
    assert 'custom_data' not in dumped.read_text() and "'cat'" in dumped.read_text()
    for trained in (path, dumped):
        result = tool('test', trained, tmp_path / 'wd/epoch_1.pth', '--work-dir', tmp_path / 'test',
                      *(options if trained == path else ()))
        assert result.code == 0, result.err[-3000:]
        metrics = json.loads((tmp_path / 'test/metrics.json').read_text())
        assert 'coco/bbox_mAP' in metrics and ('coco/segm_mAP' in metrics) == masks

    # From these weights to data of one class.
    other = coco(tmp_path / 'other', {'train/a.json': 'train', 'val/a.json': 'val'}, names=('crack',), ids=(9,),
                 masks='polygon')
    result = tool('train', path, '--work-dir', tmp_path / 'wd2', '--cfg-options', f'data_root={other}',
                  f'load_from={tmp_path / "wd/epoch_1.pth"}', 'train_cfg.val_interval=9')
    assert result.code == 0, result.err[-3000:]
    notice = next(line for line in log_of(tmp_path / 'wd2').splitlines() if 'is of other classes' in line)
    assert f'{key} (3, ' in notice and '→ (2, ' in notice and 'backbone' not in notice
    assert 'size mismatch' not in log_of(tmp_path / 'wd2')


def test_segmentor(tool, config, tmp_path):
    root = image_mask(tmp_path / 'my data', {'images': 'masks'}, values=(0, 60, 255), count=5)
    (root / 'classes.txt').write_text('ground\nroof\n')
    path = config('upernet_mambavision_t_custom', 'decode_head=dict(in_channels=[16, 32, 64, 128], channels=16), '
                  'auxiliary_head=dict(in_channels=64, channels=16), data_preprocessor=dict(size=(64, 80))',
                  'max_iters=2, val_interval=1')
    options = ('--cfg-options', f'data_root={root}')
    result = tool('train', path, '--work-dir', tmp_path / 'wd', *options)
    assert result.code == 2 and 'mmvision-mamba split-dataset' in result.err
    assert tool('split_dataset', root).code == 0
    result = tool('split_dataset', root)  # twice: nothing is overwritten
    assert result.code == 2 and 'exists: remove' in result.err
    result = tool('train', path, '--work-dir', tmp_path / 'wd', *options)
    assert result.code == 0, result.err[-3000:]
    assert '2 classes (ground, roof); pixel values 0, 60, unlabelled: 255 (' in result.out
    assert ' of the pixels); train: 4 images; val: 1 images' in result.out
    assert 'Scaling the original LR by 0.125' in log_of(tmp_path / 'wd')
    for trained in (path, tmp_path / 'wd' / path.name):
        result = tool('test', trained, tmp_path / 'wd/iter_2.pth', '--work-dir', tmp_path / 'test',
                      *(options if trained == path else ()))
        assert result.code == 0, result.err[-3000:]
        assert 0 <= json.loads((tmp_path / 'test/metrics.json').read_text())['mIoU'] <= 100
    other = image_mask(tmp_path / 'other', {'train/img': 'train/mask', 'val/img': 'val/mask'})
    result = tool('train', path, '--work-dir', tmp_path / 'wd2', '--cfg-options', f'data_root={other}',
                  f'load_from={tmp_path / "wd/iter_2.pth"}', 'train_cfg.max_iters=1')
    assert result.code == 0, result.err[-3000:]
    assert 'decode_head.conv_seg.weight (2, 16, 1, 1) → (3, 16, 1, 1)' in log_of(tmp_path / 'wd2')


TRAINED = [('faster_rcnn', name) for name in (*formats.FORMATS, 'yolo_classes', 'yolo_beside', 'darknet')] + [
    ('cascade_mask_rcnn', name) for name in ('yolo', 'voc', 'labelme', 'voc_instances')] + [
    ('upernet', name) for name in ('coco', 'yolo', 'labelme', 'voc_instances', 'grey', 'colours', 'palette', '_mask',
                                   'pairs', 'beside')]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(('base', 'name'), TRAINED)
def test_a_step_of_each_format(base, name, tool, config, tmp_path):
    data = tmp_path / 'my data'
    if name == 'beside':
        root = formats.masks_beside(data, 'end')
    else:
        root = formats.WRITERS[name](data) if name in formats.WRITERS else formats.masks(data, name)
    if base == 'upernet':
        model = ('decode_head=dict(in_channels=[16, 32, 64, 128], channels=16), auxiliary_head=dict(in_channels=64, '
                 'channels=16), data_preprocessor=dict(size=(64, 80))')
        length = 'max_iters=1, val_interval=1'
    else:
        head = 'mask_head=dict(num_convs=1)' if 'mask' in base else 'bbox_head=dict(fc_out_channels=16)'
        model = (f'neck=dict(in_channels=[16, 32, 64, 128]), roi_head=dict({head}), '
                 'test_cfg=dict(rcnn=dict(score_thr=0.))')
        length = 'max_epochs=1'
    path = config(f'{base}_mambavision_t_custom', model, length)
    result = tool('train', path, '--work-dir', tmp_path / 'wd', '--cfg-options', f'data_root={root}')
    assert result.code == 0, result.err[-3000:]
    checkpoint = next((tmp_path / 'wd').glob('*_1.pth'))
    dumped = tmp_path / 'wd' / path.name
    result = tool('test', dumped, checkpoint, '--work-dir', tmp_path / 'test')
    assert result.code == 0, result.err[-3000:]
    metrics = json.loads((tmp_path / 'test/metrics.json').read_text())
    assert metrics.get('mIoU', metrics.get('coco/bbox_mAP')) >= 0
