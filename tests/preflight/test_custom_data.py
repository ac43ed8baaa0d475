"""Your own data: what the custom configs read off folders of many kinds."""
import json
import shutil

import cv2
import numpy as np
import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine.registry import DATASETS, DefaultScope
from PIL import Image

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.preflight.check_data import check_datasets
from mmvision_mamba.preflight.check_model import check_model
from mmvision_mamba.preflight.datasets import datasets_of
from mmvision_mamba.preflight.read import read_config

from ..helpers.custom_folders import coco, image_mask
from ..helpers.neighbours import CONFIGS

DETECTOR, BOXES, SEGMENTOR = (
    f'{name}_mambavision_t_custom' for name in ('cascade_mask_rcnn', 'faster_rcnn', 'upernet'))


def read(name, root, **options):
    cfg = read_config(CONFIGS / f'{name}.py', dict(data_root=str(root), **options))
    check_datasets(cfg, ('train', 'val', 'test'))
    check_model(cfg, ('train', 'val', 'test'))
    return cfg


def built(cfg, split, pipeline=False):
    (_, dataset, _), = datasets_of(cfg, split)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        return DATASETS.build(dict(dataset, _scope_=cfg.default_scope, **({} if pipeline else dict(pipeline=[]))))


LAYOUTS = {
    'coco': {'annotations/instances_train2017.json': 'train2017', 'annotations/instances_val2017.json': 'val2017'},
    'roboflow': {'train/_annotations.coco.json': 'train', 'valid/_annotations.coco.json': 'valid'},
    'flat': {'train.json': 'images/train', 'validation.json': 'images/validation'},
    'one folder of images': {'train.json': 'images', 'val.json': 'images'},
    'capitals': {'Annotations/Train.json': 'Images/Train', 'Annotations/Val.json': 'Images/Val'},
}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_coco_layouts(layout, tmp_path):
    root = coco(tmp_path / 'my data', LAYOUTS[layout])
    cfg = read(DETECTOR, root)
    assert 'custom_data' not in cfg and cfg.auto_scale_lr.enable
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == str(root / list(LAYOUTS[layout])[1])
    for split, place in zip(('train', 'val'), LAYOUTS[layout].values()):
        dataset = built(cfg, split)
        assert dataset.metainfo['classes'] == ('cat', 'dog') and len(dataset) == 4
        info = [dataset.get_data_info(i) for i in range(4)]
        assert all(i['img_path'].startswith(str(root / place)) for i in info)
        assert {x['bbox_label'] for i in info for x in i['instances']} == {0, 1}
    sample = built(cfg, 'train', pipeline=True)[0]['data_samples'].gt_instances
    assert len(sample.masks) == len(sample) > 0


def test_names_that_occur_in_both_splits_are_looked_up_in_the_right_folder(tmp_path):
    """The same file names in train/ and val/, and annotations elsewhere."""
    root = coco(tmp_path, {'ann/a_train.json': 'x/val_not/train', 'ann/b_val.json': 'x/val'})
    cfg = read(DETECTOR, root)
    assert cfg.train_dataloader.dataset.data_prefix.img == 'x/val_not/train'
    assert cfg.val_dataloader.dataset.data_prefix.img == 'x/val'


def test_one_class_polygons_and_crowds(tmp_path):
    root = coco(tmp_path, LAYOUTS['flat'], names=('crack',), ids=(0,), masks='polygon')
    path = root / 'train.json'
    content = json.loads(path.read_text())
    content['annotations'][0]['iscrowd'] = 1
    path.write_text(json.dumps(content))
    cfg = read(DETECTOR, root)
    assert {head.num_classes for head in cfg.model.roi_head.bbox_head} == {1}
    assert cfg.model.roi_head.mask_head.num_classes == 1


def test_boxes_alone(tmp_path):
    root = coco(tmp_path, LAYOUTS['flat'], masks=None)
    with pytest.raises(DataError, match='faster_rcnn_mambavision_t_custom'):
        read(DETECTOR, root)
    cfg = read(BOXES, root)
    assert cfg.model.roi_head.bbox_head.num_classes == 2


def test_by_environment_variable(tmp_path, monkeypatch):
    monkeypatch.setenv('CUSTOM_ROOT', str(coco(tmp_path, LAYOUTS['flat'])))
    assert read_config(CONFIGS / f'{BOXES}.py').train_dataloader.dataset.data_root == str(tmp_path)
    monkeypatch.delenv('CUSTOM_ROOT')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r'data/custom: no such folder in .*CUSTOM_ROOT=FOLDER in the env'):
        read_config(CONFIGS / f'{BOXES}.py')


def test_choosing_files(tmp_path):
    root = coco(tmp_path, {'train_a.json': 'images', 'train_b.json': 'images', 'val.json': 'images'})
    with pytest.raises(DataError, match=r'the one for train: train_a.json, train_b.json(.|\n)*custom_data.train'):
        read(DETECTOR, root)
    cfg = read(DETECTOR, root, **{'custom_data.train': 'train_b.json'})
    assert cfg.train_dataloader.dataset.ann_file == 'train_b.json'


def test_coco_without_validation(tmp_path):
    root = coco(tmp_path, {'annotations.json': 'images'})
    with pytest.raises(DataError, match='nothing to validate with') as error:
        read(DETECTOR, root)
    assert f'mmvision-mamba split-dataset {root} --val 0.2' in str(error.value)
    (root / 'annotations.json').rename(root / 'train.json')
    with pytest.raises(DataError, match='nothing to validate with'):
        read(DETECTOR, root)


def test_coco_that_is_none(tmp_path):
    with pytest.raises(DataError, match=r'no COCO annotation file(.|\n)*Expected:'):
        read(DETECTOR, tmp_path)
    root = coco(tmp_path, LAYOUTS['flat'])
    shutil.rmtree(root / 'images')
    with pytest.raises(DataError, match='its images are nowhere below'):
        read(DETECTOR, root)
    (root / 'train.json').write_text('[]')
    with pytest.raises(DataError, match=r'train.json: a COCO annotation file has the lists'):
        read(DETECTOR, root)


@pytest.mark.parametrize(('options', 'message'), [
    ({'custom_data.formt': 'coco'}, "no key 'formt' .did you mean 'format'"),
    ({'custom_data.train': ['a.json']}, r"custom_data.train is \['a.json'\]: expected the name of a file or a split"),
    ({'custom_data.format': 'vo'}, "format must be one of 'coco', .*'image_mask', or None to look, got 'vo'")])
def test_wrong_settings(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        read(DETECTOR, tmp_path, **options)


FOLDERS = {
    'split below': {'images/train': 'masks/train', 'images/val': 'masks/val'},
    'split above': {'train/images': 'train/labels', 'valid/images': 'valid/labels'},
    'of mmseg': {'img_dir/train': 'ann_dir/train', 'img_dir/val': 'ann_dir/val'},
    'capitals': {'JPEGImages/training': 'SegmentationClass/training', 'JPEGImages/validation':
                 'SegmentationClass/validation'},
}


def labels(cfg, split='train'):
    dataset = built(cfg, split)
    found = set()
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        with DefaultScope.overwrite_default_scope('mmseg'):
            from mmseg.datasets.transforms import LoadAnnotations
            found |= set(np.unique(LoadAnnotations()(info)['gt_seg_map']).tolist())
    return found


@pytest.mark.parametrize('layout', FOLDERS)
def test_image_mask_layouts(layout, tmp_path):
    root = image_mask(tmp_path / 'my data', FOLDERS[layout])
    cfg = read(SEGMENTOR, root)
    for split, (images, masks) in zip(('train', 'val'), FOLDERS[layout].items()):
        dataset = built(cfg, split)
        assert len(dataset) == 4 and dataset.metainfo['classes'] == ('class_0', 'class_1', 'class_2')
        for i in range(4):
            info = dataset.get_data_info(i)
            assert info['img_path'].startswith(str(root / images))
            assert info['seg_map_path'].startswith(str(root / masks))
            assert info['img_path'].rpartition('.')[0][-6:] == info['seg_map_path'].rpartition('.')[0][-6:]
        assert labels(cfg, split) == {0, 1, 2}
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 3
    assert built(cfg, 'train', pipeline=True)[0]['inputs'].shape[0] == 3


@pytest.mark.parametrize(('values', 'names', 'classes', 'loaded'), [
    ((0, 255), None, ('background', 'foreground'), {0, 1}),
    ((0, 1, 255), None, ('class_0', 'class_1'), {0, 1, 255}),
    ((0, 100, 200), None, ('class_0', 'class_100', 'class_200'), {0, 1, 2}),
    ((0, 1, 2), ('sky', 'road', 'car'), ('sky', 'road', 'car'), {0, 1, 2}),
    ((0, 1), ('sky', 'road', 'car'), ('sky', 'road', 'car'), {0, 1}),
    ((0, 1, 3), ('sky', 'road', 'car'), ('sky', 'road', 'car'), {255, 0, 2}),  # as in ADE20K: 0 is unlabelled
    ((0, 255), ('no', 'crack'), ('no', 'crack'), {0, 1}),
    ((0, 128, 255), ('no', 'crack', 'hole'), ('no', 'crack', 'hole'), {0, 1, 2}),
    ((10, 20, 255), ('no', 'crack'), ('no', 'crack'), {0, 1, 255})])
def test_pixel_values(values, names, classes, loaded, tmp_path):
    root = image_mask(tmp_path, FOLDERS['split below'], values)
    if names:
        (root / 'classes.txt').write_text('\n'.join(names) + '\n\n')
    cfg = read(SEGMENTOR, root)
    assert tuple(built(cfg, 'train').metainfo['classes']) == classes
    assert labels(cfg) == loaded
    assert cfg.model.decode_head.num_classes == len(classes)


@pytest.mark.parametrize(('values', 'names', 'message'), [
    ((0, 1, 7, 9, 12), ('a', 'b', 'c'), r'names 3 classes, but the masks have .* 0, 1, 7, 9, 12: 7 is in .*png'),
    ((1, 1), None, 'tell 1 class from nothing else'), ((0, 1), ('crack',), 'Give the background a class')])
def test_pixel_values_that_say_nothing(values, names, message, tmp_path):
    root = image_mask(tmp_path, FOLDERS['split below'], values)
    if names:
        (root / 'classes.txt').write_text('\n'.join(names))
    with pytest.raises(DataError, match=message):
        read(SEGMENTOR, root)


def test_masks_of_other_kinds(tmp_path):
    """A palette is an index; colours and 16-bit numbers are refused."""
    root = image_mask(tmp_path, FOLDERS['split below'])
    path = next((root / 'masks/train').rglob('*.png'))
    palette = Image.fromarray(np.asarray(Image.open(path)), mode='P')
    palette.putpalette([0, 0, 0, 200, 0, 0, 0, 200, 0])
    palette.save(path)
    assert labels(read(SEGMENTOR, root)) == {0, 1, 2}
    cv2.imwrite(str(path), np.full((64, 80), 300, np.uint16))
    with pytest.raises(DataError, match='has the value 300; mmseg takes 0 to 255'):
        read(SEGMENTOR, root)
    cv2.imwrite(str(path), np.zeros((64, 80, 3), np.uint8))
    with pytest.raises(DataError, match=r'is a colour picture \(3 channels\)'):
        read(SEGMENTOR, root)
    path.unlink()
    with pytest.raises(DataError, match=r'images/train: 1 of 4 masks are missing'):
        read(SEGMENTOR, root)


def test_lists_of_names(tmp_path):
    root = image_mask(tmp_path, {'images': 'masks'})
    with pytest.raises(DataError, match=r'nothing to validate with(.|\n)*split-dataset'):
        read(SEGMENTOR, root)
    (root / 'train.txt').write_text('pic 1\nsite 0/pic\n')
    (root / 'val.txt').write_text('site 2/pic.PNG\n')  # a suffix does no harm
    cfg = read(SEGMENTOR, root)
    assert len(built(cfg, 'train')) == 2
    assert built(cfg, 'val').get_data_info(0)['seg_map_path'].endswith('site 2/pic.png')
    (root / 'val.txt').write_text('pic 77\n')
    with pytest.raises(DataError, match=r'val.txt: none of its 1 lines names an image in .*pic 77'):
        read(SEGMENTOR, root)
    with pytest.raises(DataError, match='no folders of images and masks'):
        read(SEGMENTOR, root / 'masks')
