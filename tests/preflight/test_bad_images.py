from types import SimpleNamespace

import pytest
import torch
from mmengine import Config
from mmengine.registry import DATASETS, HOOKS, DefaultScope
from PIL import Image

from mmvision_mamba.datasets.loading import use_checked_loading
from mmvision_mamba.errors import DataError
from mmvision_mamba.preflight.bad_images import EvaluateLoadedImages, bad_images, leave_out_bad_images
from mmvision_mamba.preflight.check_data import check_datasets
from mmvision_mamba.preflight.datasets import override_data_root

from ..helpers.image_bytes import turned
from ..helpers.tiny_datasets import CLASSES, change_json, picture, write

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')


def build(cfg, split):
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(cfg[f'{split}_dataloader'].dataset)
        dataset.full_init()
    return dataset


@pytest.fixture
def broken(coco, tmp_path):
    """Of four images of each split, 1 is truncated and 2 is missing in train; 3 is no image in val."""
    root = tmp_path / 'mine'
    write(root / 'train/1.jpg', picture('JPEG', seed=1)[:-200])
    (root / 'train/2.jpg').unlink()
    write(root / 'val/3.jpg', b'<html>')
    return coco


def test_found(broken):
    root = broken.data_root
    assert bad_images(build(broken, 'train')) == [(f'{root}/train/1.jpg', 'the image is truncated'),
                                                  (f'{root}/train/2.jpg', 'the file is missing')]
    assert bad_images(build(broken, 'val')) == [(f'{root}/val/3.jpg', 'it is not an image')]


def test_images_of_another_size_than_annotated(coco, tmp_path):
    """As they come out of the pipeline's own decoder: OpenCV does not turn by XMP, Pillow does."""
    train = tmp_path / 'mine/train'
    write(train / '1.jpg', picture('JPEG', (40, 37)))
    Image.new('RGB', (36, 40)).save(train / '2.jpg', xmp=b'<a tiff:Orientation="6"/>')
    Image.new('RGB', (36, 40)).save(train / '3.jpg', exif=turned())
    found = leave_out_bad_images(coco, ['train'])
    assert found == [(f'{train}/1.jpg', 'the image is 40 × 37 pixels, its annotations are for 40 × 36'),
                     (f'{train}/2.jpg', 'the image is 36 × 40 pixels, its annotations are for 40 × 36')]
    dataset = build(coco, 'train')
    use_checked_loading(dataset)
    assert [dataset[i]['inputs'].shape for i in range(len(dataset))] == [(3, 36, 40)] * 2
    coco.val_dataloader.dataset.pipeline[0].imdecode_backend = 'pillow'
    Image.new('RGB', (36, 40)).save(tmp_path / 'mine/val/2.jpg', xmp=b'<a tiff:Orientation="6"/>')
    assert leave_out_bad_images(coco, ['val']) == []


def test_segmentation_maps(ade):
    path = f'{ade.data_root}/ADEChallengeData2016/annotations/training/1.png'
    with open(path, 'rb') as file:
        content = file.read()
    with open(path, 'wb') as file:
        file.write(content[:-15])
    assert bad_images(build(ade, 'train')) == [(path, 'the image is truncated')]
    assert leave_out_bad_images(ade, ['train', 'val']) == [(path, 'the image is truncated')]
    dataset = build(ade, 'train')
    assert type(dataset).__name__ == 'ADE20KDataset' and len(dataset) == 2
    assert [dataset[i]['data_samples'].img_path[-5:] for i in range(2)] == ['0.jpg', '2.jpg']
    assert ade.val_dataloader.dataset.type == 'ADE20KDataset' and 'custom_hooks' not in ade


def test_segmentation_maps_that_nothing_loads(ade):
    ade.val_dataloader.dataset.data_prefix.seg_map_path = 'nowhere'
    del ade.val_dataloader.dataset.pipeline[1]
    assert leave_out_bad_images(ade, ['val']) == []


def test_left_out(broken, tmp_path):
    found = leave_out_bad_images(broken, ['train', 'val'])
    assert [path[len(broken.data_root):] for path, _ in found] == ['/train/1.jpg', '/train/2.jpg', '/val/3.jpg']
    train, val = build(broken, 'train'), build(broken, 'val')
    assert type(train).__name__ == type(val).__name__ == 'CocoDataset'
    assert [train.get_data_info(i)['img_id'] for i in range(len(train))] == [10, 13]
    assert [val.get_data_info(i)['img_id'] for i in range(len(val))] == [10, 11, 12]
    assert [train[i]['data_samples'].img_id for i in range(2)] == [10, 13]
    assert broken.train_dataloader.dataset.pipeline[0].type == 'LoadImageFromFile'

    # The config that is written into the work directory says the same, and short.
    broken.dump(tmp_path / 'dumped.py')
    dumped = Config.fromfile(tmp_path / 'dumped.py')
    assert len(build(dumped, 'train')) == 2
    assert leave_out_bad_images(dumped, ['train', 'val']) == []
    assert dumped.pretty_text == broken.pretty_text


def test_again_after_more_broke(broken, tmp_path):
    leave_out_bad_images(broken, ['train'])
    (tmp_path / 'mine/train/0.jpg').unlink()
    assert [reason for _, reason in leave_out_bad_images(broken, ['train'])] == ['the file is missing']
    assert [info['img_id'] for info in map(build(broken, 'train').get_data_info, range(1))] == [13]
    assert broken.train_dataloader.dataset.dataset_type == 'CocoDataset'


def test_moves_with_the_data_root(broken, tmp_path):
    leave_out_bad_images(broken, ['train'])
    (tmp_path / 'mine').rename(tmp_path / 'moved')
    override_data_root(broken, tmp_path / 'moved')
    check_datasets(broken)
    assert len(build(broken, 'train')) == 2


def test_filters_and_indices_apply_first(broken):
    broken.train_dataloader.dataset.update(indices=[2, 1], filter_cfg={'filter_empty_gt': True, 'min_size': 32})
    change_json(broken, 'train', lambda content: content['annotations'].pop(0))  # images 1, 2, 3 have some
    leave_out_bad_images(broken, ['train'])
    assert [info['img_id'] for info in map(build(broken, 'train').get_data_info, range(1))] == [13]


def test_inside_wrappers(broken):
    train = broken.train_dataloader.dataset.to_dict()
    broken.train_dataloader.dataset = {'type': 'RepeatDataset', 'times': 3, 'dataset': {
        'type': 'ConcatDataset', 'datasets': [train, broken.val_dataloader.dataset.to_dict()]}}
    assert len(leave_out_bad_images(broken, ['train'])) == 3
    assert len(build(broken, 'train')) == 3 * (2 + 3)


def test_none_left(broken, tmp_path):
    for path in (tmp_path / 'mine/val').iterdir():
        path.write_bytes(b'')
    with pytest.raises(DataError, match=r'val\.json: none of its 4 images can be used'):
        leave_out_bad_images(broken, ['val'])


def test_asked_for_its_classes_only(broken):
    leave_out_bad_images(broken, ['train'])
    broken.train_dataloader.dataset.update(lazy_init=True, ann_file='gone.json')
    with DefaultScope.overwrite_default_scope('mmdet'):
        assert DATASETS.build(broken.train_dataloader.dataset).metainfo['classes'] == CLASSES


@pytest.mark.parametrize('phase', ['val', 'test'])
def test_evaluation_counts_what_is_left(broken, phase):
    """Perfect predictions on the three good images are an AP of 1, not 3/4 of it."""
    from mmdet.evaluation import CocoMetric  # slow to import
    leave_out_bad_images(broken, [phase])
    hook = HOOKS.build(broken.custom_hooks[0])
    assert isinstance(hook, EvaluateLoadedImages)
    dataset = build(broken, phase)

    metric = CocoMetric(broken.val_evaluator.ann_file, metric='bbox')
    metric.dataset_meta = dataset.metainfo
    runner = SimpleNamespace(**{f'{phase}_evaluator': SimpleNamespace(metrics=[metric, SimpleNamespace()]),
                       f'{phase}_dataloader': SimpleNamespace(dataset=dataset)})
    getattr(hook, f'before_{phase}')(runner)
    for i in range(len(dataset)):
        prediction = {'bboxes': torch.tensor([[2., 2., 22., 22.]]), 'scores': torch.tensor([0.9]),
                      'labels': torch.tensor([i % 3])}
        metric.process({}, [{'img_id': 10 + i, 'ori_shape': (36, 40), 'pred_instances': prediction}])
    assert metric.evaluate(len(dataset))['coco/bbox_mAP'] == pytest.approx(1)
