"""What the COCO and ADE20K configs read and do to it, against the published recipes."""
import json

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.datasets import CocoDataset
from mmengine.registry import DATASETS, MODELS, DefaultScope

from ..helpers.published import DETECTORS, RECIPES, each, each_detector, each_segmentor, load, read, steps, values


@each
def test_dataloaders(name):
    recipe, cfg = RECIPES[name], load(name)
    detector = name in DETECTORS
    train, val = cfg.train_dataloader, cfg.val_dataloader
    assert train.batch_size == recipe.batch_size
    assert train.sampler == dict(type='DefaultSampler' if detector else 'InfiniteSampler', shuffle=True)
    assert train.get('batch_sampler') == (dict(type='AspectRatioBatchSampler') if detector else None)
    assert (val.batch_size, val.sampler) == (1, dict(type='DefaultSampler', shuffle=False))
    for loader in (train, val):
        assert (loader.num_workers, loader.persistent_workers) == (2 if detector else 4, True)
    assert cfg.test_dataloader == val
    assert cfg.val_evaluator == cfg.test_evaluator
    assert cfg.val_evaluator.get('metric', cfg.val_evaluator.get('iou_metrics')) == (
        ['bbox', 'segm'] if detector else ['mIoU'])
    assert train.dataset.pipeline == cfg.train_pipeline
    assert val.dataset.pipeline == cfg.test_pipeline


@each_detector
def test_detection_augmentation(name):
    cfg = load(name)
    flip, = steps(cfg.train_pipeline, 'RandomFlip')
    assert values(flip) == dict(prob=0.5)
    choice, = steps(cfg.train_pipeline, 'RandomChoice')
    assert 'prob' not in choice  # equal odds
    whole, cropped = choice.transforms
    a = dict(scales=[(side, 1333) for side in (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)], keep_ratio=True)
    b = dict(scales=[(400, 1333), (500, 1333), (600, 1333)], keep_ratio=True)
    crop = dict(crop_type='absolute_range', crop_size=(384, 600), allow_negative_crop=True)
    assert [(step.type, values(step)) for step in whole] == [('RandomChoiceResize', a)]
    assert [(step.type, values(step)) for step in cropped] == [
        ('RandomChoiceResize', b), ('RandomCrop', crop), ('RandomChoiceResize', a)]
    resize, = steps(cfg.test_pipeline, 'Resize')
    assert values(resize) == dict(scale=(1333, 800), keep_ratio=True)


@each_segmentor
def test_segmentation_augmentation(name):
    cfg, crop = load(name), RECIPES[name].crop
    scale = (2560, 640) if crop == 640 else (2048, 512)
    assert [(step.type, values(step)) for step in cfg.train_pipeline] == [
        ('LoadImageFromFile', {}),
        ('LoadAnnotations', dict(reduce_zero_label=True)),
        ('RandomResize', dict(scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True)),
        ('RandomCrop', dict(crop_size=(crop, crop), cat_max_ratio=0.75)),
        ('RandomFlip', dict(prob=0.5)),
        ('PhotoMetricDistortion', {}),
        ('PackSegInputs', {}),
    ]
    resize, = steps(cfg.test_pipeline, 'Resize')
    assert values(resize) == dict(scale=scale, keep_ratio=True)
    assert [step.scale_factor for step in steps(cfg.tta_pipeline, 'Resize')] == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]


SIZES = [(90, 120), (120, 90), (100, 100), (31, 80)]  # height, width; the last is too small to train on


@pytest.fixture(scope='module')
def coco_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('coco')
    rng = np.random.default_rng(0)
    categories = [dict(id=i, name=name) for i, name in enumerate(CocoDataset.METAINFO['classes'], start=1)]
    (root / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        (root / split).mkdir()
        images, annotations = [], []
        # The last image holds nothing.
        for i, (height, width) in enumerate([*SIZES, (90, 120)], start=1):
            cv2.imwrite(str(root / split / f'{i}.jpg'), rng.integers(0, 256, (height, width, 3), np.uint8))
            images.append(dict(id=i, file_name=f'{i}.jpg', height=height, width=width))
            if i <= len(SIZES):
                x, y, w, h = 10, 5, 40, 20
                annotations.append(dict(
                    id=i, image_id=i, category_id=17, bbox=[x, y, w, h], area=w * h, iscrowd=0,
                    segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]]))
        (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(dict(
            images=images, annotations=annotations, categories=categories)))
    return root


@pytest.fixture(scope='module')
def ade_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('ade')
    rng = np.random.default_rng(0)
    for split in ('training', 'validation'):
        images, maps = (root / 'ADEChallengeData2016' / kind / split for kind in ('images', 'annotations'))
        images.mkdir(parents=True)
        maps.mkdir(parents=True)
        for i, (height, width) in enumerate(SIZES):
            cv2.imwrite(str(images / f'{i}.jpg'), rng.integers(0, 256, (height, width, 3), np.uint8))
            # A third unlabelled (0), the rest classes 1 and 150.
            labels = np.repeat([0, 1, 150], -(-width // 3))[:width]
            cv2.imwrite(str(maps / f'{i}.png'), np.tile(labels, (height, 1)).astype(np.uint8))
    return root


def test_detection_data_run_through_the_pipelines(coco_root, monkeypatch):
    monkeypatch.setenv('COCO_ROOT', str(coco_root))
    cfg = read('cascade_mask_rcnn_mambavision_t_coco')
    np.random.seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        train = DATASETS.build(cfg.train_dataloader.dataset)
        val = DATASETS.build(cfg.test_dataloader.dataset)
        preprocessor = MODELS.build(cfg.model.data_preprocessor)
    assert len(train) == 3  # neither the small one nor the empty one
    assert len(val) == 5

    areas = []
    for i in [0, 1, 2] * 8:
        sample = train[i]
        image, truth = sample['inputs'], sample['data_samples'].gt_instances
        height, width = image.shape[1:]
        assert image.dtype == torch.uint8
        assert max(height, width) <= 1333
        assert min(height, width) in range(480, 801, 32) or max(height, width) == 1333
        assert truth.masks.masks.shape[1:] == (height, width)
        assert set(truth.labels.tolist()) <= {16}  # dog
        areas.append(height / width)
    assert len({round(ratio, 2) for ratio in areas}) > 4  # crops of many shapes, not the images' three alone

    samples = [train[0], train[1]]
    batch = preprocessor(
        {key: [sample[key] for sample in samples] for key in ('inputs', 'data_samples')}, training=True)
    assert batch['inputs'].dtype == torch.float32
    assert all(side % 32 == 0 for side in batch['inputs'].shape[2:])
    for sample in batch['data_samples']:
        assert sample.gt_instances.masks.masks.shape[1:] == batch['inputs'].shape[2:]

    sample = val[0]
    assert sample['inputs'].shape == (3, 800, 1067)
    assert sample['data_samples'].ori_shape == (90, 120)
    np.testing.assert_array_equal(sample['data_samples'].gt_instances.bboxes.tensor, [[10, 5, 50, 25]])
    padded = preprocessor(dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]))
    assert padded['inputs'].shape == (1, 3, 800, 1088)
    assert not padded['inputs'][..., 1067:].any()  # zero after normalisation
    red = (sample['inputs'][2, 400, 500] - 123.675) / 58.395
    assert padded['inputs'][0, 0, 400, 500] == pytest.approx(float(red), abs=1e-4)


@pytest.mark.parametrize('name', ['upernet_mambavision_t_ade20k', 'upernet_mambavision_l3_ade20k-640x640'])
def test_segmentation_data_run_through_the_pipelines(name, ade_root, monkeypatch):
    monkeypatch.setenv('ADE20K_ROOT', str(ade_root))
    cfg, crop = read(name), RECIPES[name].crop
    np.random.seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        train = DATASETS.build(cfg.train_dataloader.dataset)
        val = DATASETS.build(cfg.test_dataloader.dataset)
        preprocessor = MODELS.build(cfg.model.data_preprocessor)
        views = Compose(cfg.tta_pipeline)
    assert (len(train), len(val), len(val.METAINFO['classes'])) == (4, 4, 150)

    smaller = 0
    for i in [0, 1, 2] * 2:
        sample = train[i]
        height, width = sample['inputs'].shape[1:]
        assert sample['inputs'].dtype == torch.uint8
        assert max(height, width) <= crop
        assert set(sample['data_samples'].gt_sem_seg.data.unique().tolist()) <= {0, 149, 255}
        smaller += min(height, width) < crop
        batch = preprocessor(dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]), training=True)
        assert batch['inputs'].dtype == torch.float32
        assert batch['inputs'].shape == (1, 3, crop, crop)
        truth = batch['data_samples'][0].gt_sem_seg.data
        assert truth.shape == (1, crop, crop)
        assert (truth[:, height:] == 255).all() and (truth[..., width:] == 255).all()
        assert not batch['inputs'][:, :, height:].any() and not batch['inputs'][..., width:].any()
    assert 0 < smaller < 6  # some crops had to be padded, some not

    sample = val[0]
    assert sample['inputs'].shape == (3, crop, round(crop * 120 / 90))
    assert sample['data_samples'].gt_sem_seg.data.shape == (1, 90, 120)
    assert sample['data_samples'].gt_sem_seg.data[0, 0, [0, 60, 119]].tolist() == [255, 0, 149]
    whole = preprocessor(dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]))
    assert whole['inputs'].shape == (1, *sample['inputs'].shape)  # no padding

    augmented = views(val.get_data_info(0))
    assert [tuple(image.shape[1:]) for image in augmented['inputs'][::2]] == [
        (45, 60), (68, 90), (90, 120), (113, 150), (135, 180), (158, 210)]
    assert [bool(sample.flip) for sample in augmented['data_samples']] == [False, True] * 6
