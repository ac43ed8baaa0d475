"""The data of validation's losses: the test pipeline's images, and annotations that go through what it does to them."""
import copy

import pytest
import torch

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.preflight.loss_data import learns_from_empty, loss_dataloader

from ..helpers.tiny_datasets import ade_dataset, coco_dataset


def types(loader) -> list[str]:
    return [step['type'] for step in loader['dataset']['pipeline']]


def with_pipelines(cfg, val, train=None):
    cfg = copy.deepcopy(cfg)
    cfg.val_cfg = {}
    cfg.val_dataloader.dataset.pipeline = val
    if train is not None:
        cfg.train_dataloader.dataset.pipeline = train
    return cfg


def built(cfg, loader):
    from mmengine.registry import DATASETS, init_default_scope
    init_default_scope(cfg.default_scope)
    return DATASETS.build(loader['dataset'])


def test_boxes_and_masks_go_through_the_resize(tmp_path):
    """mmdet's order: annotations last, for metrics in the coordinates of the file. The object is 20 of 40 × 36."""
    load, resize = dict(type='LoadImageFromFile'), dict(type='Resize', scale=(80, 72), keep_ratio=True)
    pack = dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
    cfg = with_pipelines(coco_dataset(tmp_path), [load, resize, dict(type='LoadAnnotations', with_bbox=True), pack],
                         [load, dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
                          dict(type='RandomFlip', prob=1.), dict(type='PackDetInputs')])
    before = copy.deepcopy(cfg.to_dict())
    loader = loss_dataloader(cfg)
    assert types(loader) == ['LoadImageFromFile', 'LoadAnnotations', 'Resize', 'PackDetInputs']
    assert cfg.to_dict() == before
    item = built(cfg, loader)[0]
    truth = item['data_samples'].gt_instances
    assert tuple(item['inputs'].shape) == (3, 72, 80)
    assert truth.bboxes.tensor.tolist() == [[4, 4, 44, 44]] and truth.masks.masks.shape == (1, 72, 80)
    assert truth.masks.masks[0, 5:43, 5:43].all() and truth.masks.masks.sum() == 1600


def test_maps_go_through_the_resize(tmp_path):
    load, annotations, pack = (dict(type=name) for name in ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs'))
    resize = dict(type='Resize', scale=(60, 54), keep_ratio=True)
    cfg = with_pipelines(ade_dataset(tmp_path), [load, resize, annotations, pack],
                         [load, dict(type='LoadAnnotations', reduce_zero_label=True), pack])
    cfg.val_dataloader.dataset.reduce_zero_label = True
    item = built(cfg, loss_dataloader(cfg))[2]
    assert item['data_samples'].gt_sem_seg.data.shape == (1, 54, 60)
    assert torch.unique(item['data_samples'].gt_sem_seg.data).tolist() == [2]


def test_a_pipeline_without_annotations_gets_the_trainings(tmp_path):
    cfg = with_pipelines(coco_dataset(tmp_path), [dict(type='LoadImageFromFile'), dict(type='PackDetInputs')])
    assert types(loss_dataloader(cfg)) == ['LoadImageFromFile', 'LoadAnnotations', 'PackDetInputs']


def test_what_maps_are_made_into_is_made_at_the_end(tmp_path):
    load, annotations, pack = (dict(type=name) for name in ('LoadImageFromFile', 'LoadAnnotations', 'PackSegInputs'))
    resize, edges = dict(type='Resize', scale=(60, 54)), dict(type='GenerateEdge', edge_width=4)
    cfg = with_pipelines(ade_dataset(tmp_path), [load, resize, annotations, pack], [load, annotations, edges, pack])
    assert types(loss_dataloader(cfg)) == [
        'LoadImageFromFile', 'LoadAnnotations', 'Resize', 'GenerateEdge', 'PackSegInputs']


def test_a_pipeline_of_ones_own(tmp_path):
    cfg, own = with_pipelines(coco_dataset(tmp_path), []), [dict(type='PackDetInputs')]
    assert loss_dataloader(cfg, own)['dataset']['pipeline'] == own


def test_a_classifier_has_its_labels(tmp_path):
    from mmengine import Config
    pipeline = [dict(type='LoadImageFromFile'), dict(type='TimmAugment', input_size=32)]
    loader = dict(dataset=dict(type='mmvision_mamba.classification.ImageFolder', data_root='x', pipeline=pipeline))
    cfg = Config(dict(train_dataloader=loader, val_dataloader=loader, val_cfg={}))
    assert loss_dataloader(cfg)['dataset']['pipeline'] == pipeline


def test_the_order_and_the_batches_are_the_loaders_own(tmp_path):
    cfg = with_pipelines(coco_dataset(tmp_path), [dict(type='LoadImageFromFile'), dict(type='PackDetInputs')])
    cfg.val_dataloader.update(batch_size=3, drop_last=True, persistent_workers=True, num_workers=2,
                              batch_sampler=dict(type='AspectRatioBatchSampler'))
    loader = loss_dataloader(cfg)
    assert loader['sampler'] == dict(type='DefaultSampler', shuffle=False)
    assert not {'drop_last', 'persistent_workers', 'batch_sampler'} & loader.keys()
    assert (loader['batch_size'], loader['num_workers']) == (3, 2)


@pytest.mark.parametrize(('change', 'message'), [
    (lambda cfg: cfg.update(val_dataloader=None), 'needs a validation set'),
    (lambda cfg: cfg.update(val_cfg=None), 'needs a validation set'),
    (lambda cfg: cfg.val_dataloader.dataset.update(pipeline=[dict(type='LoadImageFromFile'), dict(
        type='TestTimeAug', transforms=[[dict(type='Resize', scale=(9, 9))]])]), 'several views of an image')])
def test_what_it_can_not_be_made_of(tmp_path, change, message):
    cfg = with_pipelines(coco_dataset(tmp_path), [dict(type='LoadImageFromFile'), dict(type='PackDetInputs')])
    change(cfg)
    with pytest.raises(ConfigError, match=message):
        loss_dataloader(cfg)


def test_images_without_objects_count_as_in_training(tmp_path):
    cfg = coco_dataset(tmp_path)
    assert learns_from_empty(cfg)
    cfg.train_dataloader.dataset.filter_cfg = dict(filter_empty_gt=True, min_size=32)
    assert not learns_from_empty(cfg)
    cfg.train_dataloader.dataset = dict(type='RepeatDataset', times=2, dataset=cfg.train_dataloader.dataset)
    assert not learns_from_empty(cfg)
