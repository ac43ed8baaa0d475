"""Losses of validation: those of the training's mode without what draws or learns there, in every family of models."""
import copy
import re
import sys
from pathlib import Path

import pytest
import torch

from mmvision_mamba.engine.val_loss import as_for_losses, main_metric, unseen_random

from ..helpers import neighbours
from ..helpers.neighbours import DETECTORS, SEGMENTORS

FEW = 'fcos_mambavision_t_coco', 'dino_mambavision_t_coco', 'mask_rcnn_mambavision_t_1x_coco', \
    'upernet_mambavision_t_cityscapes'  # other outputs in testing, queries with noise, random samples, maps


def state(model) -> dict:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize('name', [
    name if name in FEW else pytest.param(name, marks=pytest.mark.slow) for name in DETECTORS + SEGMENTORS])
def test_the_losses_of_a_family(name):
    """Against the model in training mode, with what normalises set to testing and what drops to nothing, by hand."""
    cfg = neighbours.shrink(neighbours.load(name))
    torch.manual_seed(0)
    model = neighbours.build(cfg)
    classes = 80 if name in DETECTORS else model.decode_head.num_classes
    if name in DETECTORS:
        counts = [head[key] for _, head, key in neighbours.class_counts(cfg.model, 'model') if key == 'num_classes']
        head = cfg.model.get('panoptic_head')
        classes = counts[0] if counts else head['num_things_classes'] + head['num_stuff_classes']
    batch = neighbours.detection_batch(cfg, classes) if name in DETECTORS else neighbours.segmentation_batch(classes)

    def losses(model):
        data = model.data_preprocessor(copy.deepcopy(batch), True)
        with torch.no_grad(), unseen_random(3):
            return model.parse_losses(model(**data, mode='loss'))[1]
    before, random = state(model), torch.get_rng_state()
    with as_for_losses(model):
        found = losses(model)
        again = losses(model)
    assert all(module.training for module in model.modules() if not hasattr(module, 'norm_eval'))
    assert all(torch.equal(value, before[key]) for key, value in state(model).items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(found[key], again[key]) for key in found), 'nothing draws'

    by_hand = copy.deepcopy(model).train()
    for module in by_hand.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
        for key in ('p', 'drop_prob', 'dropout', 'attn_drop'):
            if isinstance(getattr(module, key, None), float):
                setattr(module, key, 0.)
    wanted = losses(by_hand)
    assert found.keys() == wanted.keys() and 'loss' in found
    for key in found:
        torch.testing.assert_close(found[key], wanted[key], rtol=2e-4, atol=1e-5)


def test_batch_augmentations_are_off_and_come_back():
    from mmengine.registry import MODELS, DefaultScope
    cfg = neighbours.shrink(neighbours.load('fcos_mambavision_t_coco'))
    cfg.model.data_preprocessor.batch_augments = [
        dict(type='BatchSyncRandomResize', random_size_range=(32, 96), interval=1)]
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    augments = model.data_preprocessor.batch_augments
    with as_for_losses(model):
        assert model.data_preprocessor.batch_augments is None
    assert model.data_preprocessor.batch_augments is augments and len(augments) == 1


def test_a_classifier_mixes_nothing():
    from mmvision_mamba.classification import ImageClassifier
    torch.manual_seed(0)
    arch = dict(dim=8, in_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 2))
    model = ImageClassifier(dict(type='MambaVision', arch=arch, window_size=(8, 8), out_indices=(3,), norm_layer=None),
                            3, drop_rate=0.5, mixup=dict(mixup_alpha=1.))
    batch = dict(inputs=torch.randn(3, 3, 64, 64), gt_label=torch.tensor([0, 1, 2]))  # mixup takes no odd number
    with as_for_losses(model), torch.no_grad():
        found = model(**batch, mode='loss')['loss']
    wanted = torch.nn.functional.cross_entropy(model.eval()(batch['inputs']), batch['gt_label'])
    torch.testing.assert_close(found, wanted)
    assert model.mixup is not None


def test_buffers_that_a_loss_counts_in_come_back():
    """As of Seesaw loss, which counts the objects of each class."""
    class Counting(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer('seen', torch.zeros(3))
    model = Counting()
    with pytest.raises(RuntimeError), as_for_losses(model):
        model.seen += 1
        raise RuntimeError
    assert model.seen.tolist() == [0, 0, 0] and model.training


def test_a_buffer_that_a_loss_replaces_or_adds_comes_back():
    """As of EQL v2, whose sums are."""
    class Replacing(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer('seen', torch.zeros(3))
    model = Replacing()
    before = model.seen
    with as_for_losses(model):
        model.seen = model.seen + 1
        model.register_buffer('more', torch.ones(1))
    assert model.seen is before and [*model.state_dict()] == ['seen']


def test_what_a_head_notes_of_its_batches_comes_back():
    """Dynamic R-CNN notes IoUs and deviations, and takes thresholds of its assigner and its loss from them."""
    cfg = neighbours.shrink(neighbours.load('mask_rcnn_mambavision_t_1x_coco'))
    cfg.model.roi_head.type = 'DynamicRoIHead'
    cfg.model.roi_head.bbox_head.loss_bbox = dict(type='SmoothL1Loss', beta=1.)
    cfg.model.train_cfg.rcnn.dynamic_rcnn = dict(
        iou_topk=75, beta_topk=10, update_iter_interval=2, initial_iou=0.4, initial_beta=1.)
    torch.manual_seed(0)
    model = neighbours.build(cfg)
    head = model.roi_head
    batch = neighbours.detection_batch(cfg, 80)

    def noted():
        return [*head.iou_history], [*head.beta_history], head.bbox_head.loss_bbox.beta, dict(vars(head.bbox_assigner))

    def step():
        model(**model.data_preprocessor(copy.deepcopy(batch), True), mode='loss')
    step()
    before, assigner = noted(), head.bbox_assigner
    assert before[0]
    with as_for_losses(model), torch.no_grad():
        step()
        assert noted() != before, 'two batches change the thresholds'
    assert noted() == before and head.bbox_assigner is assigner


def test_the_first_metric_that_is_no_loss_is_the_main_one():
    assert main_metric({'val/loss': 1., 'coco/bbox_mAP': 0.1}) == 'coco/bbox_mAP'
    assert main_metric({'val/loss': 1.}) is None


def test_two_processes_have_the_loss_of_one(tmp_path, shell, port):
    """Nine images: one of the processes has the first one again, which counts once."""
    losses = []
    for count in (1, 2):
        done = shell(sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', count, '--master-port', port,
                     Path(__file__).with_name('val_loss_worker.py'), tmp_path / str(count))
        assert done.returncode == 0, done.stderr[-3000:]
        losses.append([float(value) for value in re.findall(r'its loss: ([\d.]+)', done.stdout)])
    assert [len(some) for some in losses] == [1, 2], done.stdout[-3000:]
    assert losses[1] == pytest.approx(losses[0] * 2, rel=1e-6)
