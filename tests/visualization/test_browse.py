"""The grid shows the very images and annotations that the model gets."""
import json

import cv2
import numpy as np
import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.visualization.browse import draw_samples, model_inputs

from ..helpers.panoptic_data import make_panoptic, small_config

CLASSES = ('a', 'b')
PALETTE = [(255, 0, 0), (0, 0, 255)]
SIZES = [(40, 60), (48, 32), (40, 60)]  # height, width, two of them no multiples of the padding's 32
NORMALISE = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
BOX = (10, 8, 30, 24)  # x1, y1, x2, y2


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Images of two sizes, coloured noise; an object of class 1 in BOX, its map with a border that is ignored."""
    root = tmp_path_factory.mktemp('data')
    (root / 'img').mkdir()
    (root / 'map').mkdir()
    x1, y1, x2, y2 = BOX
    content = dict(images=[], annotations=[], categories=[dict(id=i, name=name) for i, name in enumerate(CLASSES)])
    for i, (height, width) in enumerate(SIZES):
        image = np.random.default_rng(i).integers(0, 256, (height, width, 3), dtype=np.uint8)
        labels = np.zeros((height, width), np.uint8)
        labels[:3] = 255
        labels[y1:y2, x1:x2] = 1
        cv2.imwrite(str(root / f'img/{i}.png'), image)
        cv2.imwrite(str(root / f'map/{i}.png'), labels)
        content['images'].append(dict(id=i, file_name=f'{i}.png', height=height, width=width))
        content['annotations'].append(dict(
            id=i, image_id=i, category_id=1, bbox=[x1, y1, x2 - x1, y2 - y1], area=320, iscrowd=0,
            segmentation=[[x1, y1, x2, y1, x2, y2, x1, y2]]))
    (root / 'coco.json').write_text(json.dumps(content))
    return root


def detection(root, *steps, masks=True, late=(), split='train', batch_size=1):
    load = dict(type='LoadAnnotations', with_bbox=True, with_mask=masks)
    init_default_scope('mmdet')
    return Config({
        'model': dict(data_preprocessor=dict(type='DetDataPreprocessor', pad_mask=masks, pad_size_divisor=32,
                                             **NORMALISE)),
        f'{split}_dataloader': dict(batch_size=batch_size, dataset=dict(
            type='CocoDataset', data_root=str(root), ann_file='coco.json', data_prefix=dict(img='img'),
            metainfo=dict(classes=CLASSES, palette=PALETTE), test_mode=split != 'train',
            pipeline=[dict(type='LoadImageFromFile'), *late, load, *steps, dict(type='PackDetInputs')]))})


def segmentation(root, *steps, late=(), split='train'):
    init_default_scope('mmseg')
    return Config({
        'model': dict(data_preprocessor=dict(type='SegDataPreProcessor', size=(64, 64), seg_pad_val=255, **NORMALISE)),
        f'{split}_dataloader': dict(batch_size=1, dataset=dict(
            type='BaseSegDataset', data_root=str(root), img_suffix='.png', metainfo=dict(classes=CLASSES),
            data_prefix=dict(img_path='img', seg_map_path='map'),
            pipeline=[dict(type='LoadImageFromFile'), *late, dict(type='LoadAnnotations'), *steps,
                      dict(type='PackSegInputs')]))})


def original(sample):
    return cv2.imread(sample.img_path)[..., ::-1].astype(int)


def test_images_as_the_model_gets_them(root):
    samples, metainfo = model_inputs(detection(root, dict(type='RandomFlip', prob=1.)))
    assert len(samples) == 3 and metainfo['classes'] == CLASSES
    for image, sample in samples:
        height, width = sample.img_shape
        assert image.shape == (64, 64 if width > 32 else 32, 3)
        assert abs(image[:height, :width] - original(sample)[:, ::-1]).max() <= 1, 'flipped, else unchanged'
        assert abs(image[height:] - np.array([124, 116, 104])).max(initial=0) <= 1, "padding: the mean colour, here"
        x1, y1, x2, y2 = BOX
        assert sample.gt_instances.bboxes.tolist() == [[width - x2, y1, width - x1, y2]]


def test_a_batch_is_padded_as_in_training(root):
    samples, _ = model_inputs(detection(root, batch_size=3))
    assert {image.shape for image, _ in samples} == {(64, 64, 3)}
    assert {sample.gt_instances.masks.to_ndarray().shape for _, sample in samples} == {(1, 64, 64)}


@pytest.mark.parametrize('masks', [True, False])
@pytest.mark.parametrize('wrapper', [None, 'ConcatDataset', 'RepeatDataset'])
def test_annotations_of_a_test_pipeline_are_brought_to_the_inputs_size(wrapper, masks, root):
    cfg = detection(root, masks=masks, split='val', late=[dict(type='Resize', scale_factor=2., keep_ratio=True)])
    dataset = cfg.val_dataloader.dataset
    if wrapper == 'ConcatDataset':
        cfg.val_dataloader.dataset = dict(type=wrapper, datasets=[dataset, dict(
            type='RepeatDataset', times=2, dataset=dataset)])
    elif wrapper:
        cfg.val_dataloader.dataset = dict(type=wrapper, times=2, dataset=dataset)
    samples, _ = model_inputs(cfg, 'val')
    for image, sample in samples:
        assert sample.gt_instances.bboxes.tolist() == [[2 * side for side in BOX]]
        if masks:
            mask = sample.gt_instances.masks.to_ndarray()[0]
            assert mask.shape == image.shape[:2]
            rows, columns = np.nonzero(mask)
            assert np.allclose((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1),
                               [2 * side for side in BOX], atol=2)


@pytest.mark.parametrize('kind', [detection, segmentation])
@pytest.mark.parametrize('preprocessor', [{}, dict(bgr_to_rgb=False), dict(mean=None, std=None, bgr_to_rgb=False)])
def test_colours_are_right_however_they_are_normalised(kind, preprocessor, root):
    cfg = kind(root)
    cfg.model.data_preprocessor.update(preprocessor)
    for image, sample in model_inputs(cfg)[0]:
        height, width = sample.img_shape
        assert abs(image[:height, :width] - original(sample)).max() <= 1


def test_semantic_maps(root):
    late = [dict(type='Resize', scale_factor=2., keep_ratio=True)]
    samples, _ = model_inputs(segmentation(root, split='test', late=late), 'test')
    for image, sample in samples:
        labels = sample.gt_sem_seg.data[0].numpy()
        assert labels.shape == sample.img_shape == image.shape[:2]
        x1, y1, x2, y2 = (2 * side for side in BOX)
        assert (labels[y1:y2, x1:x2] == 1).all() and (labels == 1).sum() == (x2 - x1) * (y2 - y1)
        assert (labels[:6] == 255).all()


def test_seed_and_count(root):
    cfg = detection(root, dict(type='RandomFlip', prob=0.5))

    def taken(seed):
        return [(sample.img_id, sample.flip) for _, sample in model_inputs(cfg, count=2, seed=seed)[0]]
    assert len(taken(0)) == 2 and taken(0) == taken(0)
    assert len({tuple(taken(seed)) for seed in range(4)}) > 1


def share(tile, colour):
    """How much of a tile is rather of an RGB primary than grey."""
    tile = tile.astype(int)
    return (tile[..., colour] - tile[..., (colour + 1) % 3] > 60).mean()


@pytest.mark.parametrize('kind', [detection, segmentation])
def test_picture(kind, root, tmp_path):
    cfg = kind(root, dict(type='RandomFlip', prob=0.5))
    if kind is segmentation:
        cfg.train_dataloader.dataset.metainfo.palette = PALETTE
    samples, metainfo = model_inputs(cfg)
    for image, _ in samples:
        image[:] = 90
    draw_samples(tmp_path / 'new' / 'grid.png', samples, metainfo, columns=2, title='t')
    picture = cv2.imread(str(tmp_path / 'new' / 'grid.png'))[..., ::-1]
    rows = np.array_split(picture[int(0.05 * len(picture)):int(0.9 * len(picture))], 2)
    tiles = [tile for row in rows for tile in np.array_split(row, 4, axis=1)]
    blue = [share(tile, 2) > 0.02 for tile in tiles]  # class b
    assert blue == [False, True, False, True, False, True, False, False]


def test_several_views_of_an_image_are_refused(root):
    cfg = detection(root, split='test')
    pipeline = cfg.test_dataloader.dataset.pipeline
    cfg.test_dataloader.dataset.pipeline = [pipeline[0], dict(type='TestTimeAug', transforms=[
        [dict(type='RandomFlip', prob=p) for p in (0., 1.)], [dict(type='PackDetInputs')]])]
    with pytest.raises(ConfigError, match='several views'):
        model_inputs(cfg, 'test')


def test_panoptic_annotations(tmp_path):
    """Instances with masks, and the semantic map around them: as loaded, and as a test pipeline leaves them."""
    root = make_panoptic(tmp_path / 'coco', train=2, val=2)
    (tmp_path / 'config.py').write_text(small_config(root))
    cfg = Config.fromfile(tmp_path / 'config.py')
    init_default_scope('mmdet')
    for split in ('train', 'val'):
        samples, metainfo = model_inputs(cfg, split)
        for image, sample in samples:
            (height, width), shape = sample.img_shape, image.shape[:2]
            assert shape[0] % 32 == shape[1] % 32 == 0 and (height, width) != shape
            labels, masks = sample.gt_sem_seg.data[0].numpy(), sample.gt_instances.masks.to_ndarray()
            assert labels.shape == masks.shape[1:] == shape
            assert set(np.unique(labels[:height, 4:width])) == {0, 1, 2, 3}
            assert (labels[height:] == 255).all() and not masks[:, height:].any() and not masks[:, :, width:].any()
            for mask, label in zip(masks, sample.gt_instances.labels.tolist(), strict=True):
                assert (labels[mask > 0] == label).mean() > 0.9  # resized apart
        draw_samples(tmp_path / f'{split}.png', samples, metainfo)
        assert cv2.imread(str(tmp_path / f'{split}.png')).std() > 10
