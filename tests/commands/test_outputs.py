"""What `test`, `infer` and `confusion` write: an output for each image, and numbers that agree with each other."""
import json
import shutil
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine.registry import MODELS, init_default_scope
from pycocotools import mask as rle
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmvision_mamba import Inferencer
from mmvision_mamba.inference.results import to_dict
from mmvision_mamba.preflight.read import read_config

from ..helpers import ROOT
from ..helpers.custom_folders import coco, image_mask

CONFIG = '''
_base_ = '{root}/configs/{base}.py'
data_root = '{data}'
model = dict(backbone=dict(
    arch=dict(_delete_=True, dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)), window_size=(4, 2),
    init_cfg=None), {model})
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(96, 80), keep_ratio=True), {pack}]
test_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(pipeline=test_pipeline))
custom_imports = dict(_delete_=True, imports=[], allow_failed_imports=False)
'''
DETECTOR = ('neck=dict(in_channels=[16, 32, 64, 128]), roi_head=dict(mask_head=dict(num_convs=1)), '
            'test_cfg=dict(rpn=dict(nms_pre=100, max_per_img=30), rcnn=dict(score_thr=0., max_per_img=20))')
SEGMENTOR = 'decode_head=dict(in_channels=[16, 32, 64, 128]), auxiliary_head=dict(in_channels=64)'


PACK = dict(
    mmdet="dict(type='LoadAnnotations', with_bbox=True, with_mask=True), dict(type='PackDetInputs', meta_keys=("
          "'img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))",
    mmseg="dict(type='LoadAnnotations'), dict(type='PackSegInputs')")


def model_on(data, base, model, scope):
    """A small config on these data, and a checkpoint with random weights."""
    config, checkpoint = data.parent / f'{data.name}.py', data.parent / f'{data.name}.pth'
    config.write_text(CONFIG.format(root=ROOT, data=data, base=base, model=model, pack=PACK[scope]))
    cfg = read_config(config)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    built = MODELS.build(cfg.model)
    if 'decode_head' in cfg.model:
        weight = built.decode_head.conv_seg.weight.data.normal_()  # classes that differ
        weight -= weight.mean(1, keepdim=True)
    torch.save(dict(state_dict=built.state_dict(), meta={}), checkpoint)
    return SimpleNamespace(config=config, checkpoint=checkpoint, data=data)


@pytest.fixture(scope='module')
def segmentor(tmp_path_factory):
    """On pictures of 80 × 64 pixels, two of them pic.PNG in folders of their own."""
    data = image_mask(tmp_path_factory.mktemp('seg') / 'my masks', {
        'images/train': 'masks/train', 'images/val': 'masks/val'}, values=(7, 30, 60, 90, 255))
    return model_on(data, 'upernet_mambavision_t_custom', SEGMENTOR, 'mmseg')


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    """Its objects are what the model finds, but for a few: with random weights it would find none."""
    data = coco(tmp_path_factory.mktemp('det') / 'my data', {'train/a.json': 'train', 'val/a.json': 'val'})
    files = model_on(data, 'cascade_mask_rcnn_mambavision_t_custom', DETECTOR, 'mmdet')
    model = Inferencer(files.config, files.checkpoint, 'cpu', show_progress=False)
    path = data / 'val/a.json'
    content = json.loads(path.read_text())
    content['annotations'] = []
    for image in content['images']:
        found = to_dict(model.predict(data / 'val' / image['file_name'])[0])
        objects = [(label, mask) for label, mask in zip(found['labels'], found['masks']) if rle.area(mask) > 30]
        for label, mask in objects[1::2]:
            content['annotations'].append(dict(
                id=len(content['annotations']) + 1, image_id=image['id'], category_id=(7, 90)[label], segmentation=mask,
                bbox=rle.toBbox(mask).tolist(), area=int(rle.area(mask)), iscrowd=0))
    path.write_text(json.dumps(content))
    return files


def written(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob('*') if path.is_file())


def test_a_segmentor(tool, segmentor, tmp_path):
    """test, infer and confusion: the same names, the same maps, the same numbers."""
    names = ['pic 1', 'pic 3', 'site 0/pic', 'site 2/pic']
    result = tool('test', segmentor.config, segmentor.checkpoint, '--work-dir', tmp_path / 'wd', '--out',
                  tmp_path / 'out', '--show-dir', tmp_path / 'pictures')
    assert result.code == 0, result.err[-3000:]
    assert f'label maps: {tmp_path / "out"} (a pixel has its label; 255: none)' in result.out
    assert written(tmp_path / 'out') == [f'{name}.png' for name in names]
    assert written(tmp_path / 'pictures') == ['pic 1.jpeg', 'pic 3.jpeg', 'site 0/pic.png', 'site 2/pic.png']
    assert not np.array_equal(*(cv2.imread(str(tmp_path / f'pictures/site {i}/pic.png')) for i in (0, 2)))

    result = tool('infer', segmentor.config, segmentor.checkpoint, segmentor.data / 'images/val', '--no-save-vis')
    assert result.code == 0, result.err[-3000:]
    assert written(tmp_path / 'outputs/preds') == [f'{name}.png' for name in names]
    for name in names:
        maps = [np.asarray(Image.open(folder / f'{name}.png')) for folder in (tmp_path / 'out',
                                                                              tmp_path / 'outputs/preds')]
        assert np.array_equal(*maps) and len(np.unique(maps[0])) > 1

    metrics = json.loads((tmp_path / 'wd/metrics.json').read_text())
    for predictions in (tmp_path / 'out', tmp_path / 'outputs/preds', segmentor.checkpoint):
        result = tool('confusion', segmentor.config, predictions, '--work-dir', tmp_path / 'wd2', '--out-dir',
                      tmp_path / 'confusion')
        assert result.code == 0, result.err[-3000:]
        found = json.loads((tmp_path / 'confusion/confusion.json').read_text())
        counts = np.array(found['counts'])
        assert 100 * np.trace(counts) / counts.sum() == pytest.approx(metrics['aAcc'])
        assert 100 * np.mean(found['per_class']['IoU']) == pytest.approx(metrics['mIoU'])


def test_a_segmentor_whose_masks_count_from_one(tool, model_files, shapes, tmp_path):
    """As ADE20K's: the maps of test and infer do so too, and confusion reads them."""
    files = model_files.segmentor
    options = ('--cfg-options', f'data_root={shapes}', 'test_dataloader.dataset.reduce_zero_label=True')
    result = tool('test', files.config, files.checkpoint, '--work-dir', 'wd', '--out', 'out', *options)
    assert result.code == 0, result.err[-3000:]
    expected = 'a pixel has its label + 1, as in the masks of the data set (reduce_zero_label); 0: none'
    assert f'label maps: out ({expected})' in result.out
    result = tool('infer', files.config, files.checkpoint, shapes / 'val', '--no-save-vis', *options)
    assert result.code == 0 and f'label maps: {expected}' in result.out, result.err[-3000:]
    inferencer = Inferencer(files.config, files.checkpoint, 'cpu', show_progress=False)
    for name in ('000000.png', '000001.png', '000002.png'):
        labels = inferencer.predict(shapes / f'val/{name}')[0].pred_sem_seg.data[0].numpy()
        for folder in ('out', 'outputs/preds'):
            assert np.array_equal(np.asarray(Image.open(tmp_path / folder / name)), labels + 1)
    with Image.open(tmp_path / 'outputs/preds/000000.png') as image:
        assert image.getpalette()[:6] == [0, 0, 0, *inferencer.palette[0]]
    metrics = json.loads((tmp_path / 'wd/metrics.json').read_text())
    for predictions in ('out', 'outputs/preds'):
        result = tool('confusion', files.config, predictions, '--work-dir', 'wd', *options)
        assert result.code == 0, result.err[-3000:]
        counts = np.array(json.loads((tmp_path / 'wd/confusion/confusion.json').read_text())['counts'])
        assert 100 * np.trace(counts) / counts.sum() == pytest.approx(metrics['aAcc'])


def test_several_data_sets_whose_masks_count_from_one(tool, model_files, shapes, tmp_path):
    """In wrappers the data sets' convention holds too, and what is augmented is said to each of them."""
    files = model_files.segmentor
    (tmp_path / 'several.py').write_text(f"""
_base_ = '{files.config}'
pipeline = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(
    type='PackSegInputs', meta_keys=('img_path', 'ori_shape', 'img_shape'))]
part = dict(type='BaseSegDataset', data_root='{shapes}', img_suffix='.png', reduce_zero_label=True,
            pipeline=pipeline, metainfo=dict(classes=('a', 'b', 'c', 'd')))
test_dataloader = dict(dataset=dict(_delete_=True, type='ConcatDataset', datasets=[
    dict(part, data_prefix=dict(img_path='val', seg_map_path='semantic/val')),
    dict(type='RepeatDataset', times=2, dataset=dict(part, data_prefix=dict(
        img_path='train', seg_map_path='semantic/train')))]))
tta_model = dict(type='SegTTAModel')
tta_pipeline = [dict(type='LoadImageFromFile'), dict(type='TestTimeAug', transforms=[
    [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1., direction='horizontal')],
    [dict(type='LoadAnnotations')], pipeline[-1:]])]
""")
    for options in ((), ('--tta',)):
        result = tool('test', tmp_path / 'several.py', files.checkpoint, '--work-dir', 'wd', '--out', 'out', *options)
        assert result.code == 0, result.err[-3000:]
        assert 'label maps: out (a pixel has its label + 1' in result.out
        assert written(tmp_path / 'out') == [f'{folder}/{i:06}.png' for folder, count in (('train', 6), ('val', 3))
                                             for i in range(count)]
    result = tool('infer', tmp_path / 'several.py', files.checkpoint, shapes / 'val', '--no-save-vis')
    assert result.code == 0, result.err[-3000:]
    tool('test', tmp_path / 'several.py', files.checkpoint, '--work-dir', 'wd', '--out', 'out')
    for i in range(3):
        maps = [np.asarray(Image.open(tmp_path / folder / f'{i:06}.png')) for folder in ('out/val', 'outputs/preds')]
        assert np.array_equal(*maps) and maps[0].min() >= 1


@pytest.mark.parametrize('option', ['--out', '--show-dir'])
@pytest.mark.parametrize('folder', ['val', 'semantic/val', 'train', 'semantic/train'])
def test_predictions_take_no_place_of_the_data(tool, model_files, shapes, tmp_path, folder, option):
    """Images and maps of any split: a test is no way to lose them."""
    files, data = model_files.segmentor, tmp_path / 'data'
    shutil.copytree(shapes, data)
    before = {path: path.read_bytes() for path in data.rglob('*') if path.is_file()}
    result = tool('test', files.config, files.checkpoint, '--work-dir', 'wd', option, data / folder, '--cfg-options',
                  f'data_root={data}')
    assert result.code == 2 and len(result.errors) == 1
    assert "000000.png' is of the data, an image or a map, and a prediction would take its place" in result.errors[0]
    assert {path: path.read_bytes() for path in data.rglob('*') if path.is_file()} == before


def test_predictions_are_written_over_earlier_ones_and_beside_the_data(tool, model_files, shapes, tmp_path):
    files, data = model_files.segmentor, tmp_path / 'data'
    shutil.copytree(shapes, data)
    for _ in range(2):
        result = tool('test', files.config, files.checkpoint, '--work-dir', 'wd', '--out', data / 'predicted',
                      '--show-dir', data, '--cfg-options', f'data_root={data}')
        assert result.code == 0, result.err[-3000:]
    assert written(data / 'predicted') == [path.name for path in sorted(data.glob('*.png'))] != []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_pictures_of_all_processes(shell, segmentor, tmp_path):
    done = shell(sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', 2,
                 ROOT / 'tools/test.py', segmentor.config, segmentor.checkpoint, '--launcher', 'pytorch', '--work-dir',
                 'wd', '--show-dir', 'pictures', '--out', 'out', '--cfg-options', 'env_cfg.dist_cfg.backend=gloo')
    assert done.returncode == 0, done.stderr[-3000:]
    assert written(tmp_path / 'pictures') == ['pic 1.jpeg', 'pic 3.jpeg', 'site 0/pic.png', 'site 2/pic.png']
    assert len(written(tmp_path / 'out')) == 4


def scored(truth, results, kind):
    """The APs that pycocotools finds, by the recipe of docs/inference.md."""
    evaluation = COCOeval(truth, truth.loadRes(str(results)), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats[:6]


def test_a_detector(tool, detector, tmp_path):
    result = tool('test', detector.config, detector.checkpoint, '--work-dir', 'wd', '--show-dir', 'pictures')
    assert result.code == 0, result.err[-3000:]
    assert written(tmp_path / 'pictures') == ['deep/er 1/pic.png', 'deep/er 3/pic.png', 'pic 0.jpg', 'pic 2.jpg']
    # What infer and batch-infer write has the data set's own ids, and pycocotools finds what test measures.
    metrics = json.loads((tmp_path / 'wd/metrics.json').read_text())
    truth, images = COCO(detector.data / 'val/a.json'), detector.data / 'val'
    result = tool('infer', detector.config, detector.checkpoint, images, '--no-save-vis')
    assert result.code == 0 and f'ids: categories are those of {detector.data}/val/a.json, images too' in result.out
    result = tool('batch_infer', detector.config, detector.checkpoint, images, '--out', 'batch', '--format', 'coco')
    assert result.code == 0, result.err[-3000:]
    for folder in (tmp_path / 'outputs/preds', tmp_path / 'batch'):
        header = json.loads((folder / 'images.json').read_text())
        assert {i['id']: i['file_name'] for i in header['images']} == {
            id_: str(images / image['file_name']) for id_, image in truth.imgs.items()}
        assert [c['id'] for c in header['categories']] == [7, 90] and 'val/a.json' in header['info']['description']
        for kind, name in (('bbox', 'boxes'), ('segm', 'results')):
            aps = scored(truth, folder / f'{name}.json', kind)
            assert 0 < aps[0] < 1 and aps.tolist() == pytest.approx([
                metrics[f'coco/{kind}_{key}'] for key in ('mAP', 'mAP_50', 'mAP_75', 'mAP_s', 'mAP_m', 'mAP_l')])

    # Nothing found: what that means, instead of a line that the results are empty.
    result = tool('test', detector.config, detector.checkpoint, '--work-dir', 'wd', '--cfg-options',
                  'model.test_cfg.rcnn.score_thr=1.5')
    assert result.code == 0 and json.loads((tmp_path / 'wd/metrics.json').read_text()) == {}
    assert 'No image has a single detection with a score above model.test_cfg.rcnn.score_thr = 1.5' in result.out
    assert 'normal in the first few hundred iterations' in result.out and 'results of the whole' not in result.out
    assert 'metrics.json (empty: nothing could be measured)' in result.out
    assert 'expected a folder' in tool('test', detector.config, detector.checkpoint, '--show-dir', detector.config).err
