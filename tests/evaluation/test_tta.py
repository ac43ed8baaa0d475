"""InstanceSegTTAModel: boxes as mmdet merges them, masks back in the original image."""
import copy

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')

from mmcv.transforms import Compose
from mmdet.models import DetTTAModel
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_flip
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask

from mmvision_mamba.evaluation.tta import InstanceSegTTAModel

from ..helpers import ROOT

CONFIGS = ROOT / 'configs'
HEIGHT, WIDTH = 40, 60
TTA_CFG = ConfigDict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=100)
FLIPS = {None: (), 'horizontal': (1,), 'vertical': (0,), 'diagonal': (0, 1)}


class Untouched(torch.nn.Module):
    """Stands in for a detector where only merging is tested."""

    def test_step(self, data):
        raise AssertionError


def triangle(x1, y1, x2, y2):
    """The lower left half of a box: no flip leaves it as it was."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    return cv2.fillPoly(mask, [np.array([(x1, y1), (x1, y2), (x2, y2)])], 1).astype(bool)


def box_of(mask):
    rows, columns = mask.nonzero()
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def view(objects, direction=None, encode=torch.from_numpy):
    """A detector's exact answer on one view. `objects`: (mask in the original image, label, score)."""
    masks = [np.flip(mask, FLIPS[direction]) for mask, _, _ in objects]
    sample = DetDataSample(
        metainfo=dict(ori_shape=(HEIGHT, WIDTH), flip=direction is not None, flip_direction=direction))
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([box_of(mask) for mask in masks], dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor([score for _, _, score in objects]),
        labels=torch.tensor([label for _, label, _ in objects], dtype=torch.long),
        masks=encode(np.stack(masks) if masks else np.zeros((0, HEIGHT, WIDTH), bool)))
    return sample


def run_length(masks):
    return [coco_mask.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]


def merge(samples, cls=InstanceSegTTAModel, tta_cfg=TTA_CFG):
    merged, = cls(module=Untouched(), tta_cfg=tta_cfg).merge_preds([copy.deepcopy(samples)])
    return merged.pred_instances


SMALL, MIDDLE, LARGE = triangle(3, 2, 20, 10), triangle(30, 5, 55, 25), triangle(5, 20, 28, 38)


@pytest.mark.parametrize('encode', [torch.from_numpy, np.asarray, run_length])
@pytest.mark.parametrize('direction', FLIPS)
def test_masks_come_back_to_the_original_image(direction, encode):
    # The flipped view is the surer one, so its masks must survive, but for one object it did not see.
    plain = view([(SMALL, 0, 0.5), (MIDDLE, 1, 0.6), (LARGE, 1, 0.7)], encode=encode)
    flipped = view([(MIDDLE, 1, 0.9), (SMALL, 0, 0.8)], direction, encode)
    merged = merge([plain, flipped])
    assert merged.labels.tolist() == [1, 0, 1]
    assert merged.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])
    assert merged.masks.dtype == torch.bool
    for mask, bbox, truth in zip(merged.masks, merged.bboxes, (MIDDLE, SMALL, LARGE)):
        np.testing.assert_array_equal(mask.numpy(), truth)
        assert bbox.tolist() == box_of(truth)


@pytest.mark.parametrize('max_per_img', [3, 100])
def test_boxes_are_those_of_mmdet(max_per_img):
    rng = np.random.default_rng(0)

    def random_objects():
        for _ in range(12):
            x1, y1 = rng.integers(0, (WIDTH - 12, HEIGHT - 12))
            width, height = rng.integers(6, 12, 2)
            yield triangle(x1, y1, x1 + width, y1 + height), int(rng.integers(3)), float(rng.random())

    samples = [view(list(random_objects()), direction) for direction in FLIPS]
    without_masks = copy.deepcopy(samples)
    for sample in without_masks:
        del sample.pred_instances.masks
    tta_cfg = ConfigDict(TTA_CFG, max_per_img=max_per_img)
    expected = merge(without_masks, DetTTAModel, tta_cfg)
    assert 3 <= len(expected) < 48  # suppression or the limit has removed some

    for merged in (merge(samples, tta_cfg=tta_cfg), merge(without_masks, tta_cfg=tta_cfg)):
        for key in ('bboxes', 'scores', 'labels'):
            torch.testing.assert_close(merged[key], expected[key], rtol=0, atol=0)
    merged = merge(samples, tta_cfg=tta_cfg)
    assert [box_of(mask.numpy()) for mask in merged.masks] == merged.bboxes.tolist()


def test_nothing_found_in_any_view():
    merged = merge([view([]), view([], 'horizontal')])
    assert len(merged) == 0
    assert merged.masks.shape == (0, HEIGHT, WIDTH)


class ColourDetector(torch.nn.Module):
    """Segments an image by its channels: class c is where channel c is bright."""

    def test_step(self, data):
        predictions = []
        for image, sample in zip(data['inputs'], data['data_samples']):
            found = []
            for channel in image.numpy():
                # As mmdet's mask heads with rescale=True: at the original image's size, still flipped.
                mask = cv2.resize(channel, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) > 127
                found.append(mask)
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor([box_of(mask) for mask in found], dtype=torch.float32),
                scores=torch.full((len(found),), 0.5 + 0.1 * sample.flip),
                labels=torch.arange(len(found)),
                masks=torch.from_numpy(np.stack(found)))
            predictions.append(sample)
        return predictions


def test_configured_augmentation_end_to_end(tmp_path):
    truth = (SMALL, MIDDLE, LARGE)
    path = tmp_path / 'image.png'
    cv2.imwrite(str(path), np.stack(truth, -1).astype(np.uint8) * 255)
    cfg = Config.fromfile(CONFIGS / 'cascade_mask_rcnn_mambavision_t_coco.py')
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        views = Compose(cfg.tta_pipeline)(dict(img_path=str(path), img_id=1, instances=[], height=HEIGHT, width=WIDTH))
        model = MODELS.build(dict(cfg.tta_model, module=ColourDetector()))
    assert [sample.flip for sample in views['data_samples']] == [False, True] * 3
    assert [tuple(image.shape[1:]) for image in views['inputs'][::2]] == [(640, 960), (800, 1200), (960, 1440)]

    merged, = model.test_step({key: [[value] for value in values] for key, values in views.items()})
    order = merged.pred_instances.labels.argsort()
    assert merged.pred_instances.labels[order].tolist() == [0, 1, 2]
    for mask, expected in zip(merged.pred_instances.masks[order].numpy(), truth):
        assert (mask & expected).sum() / (mask | expected).sum() > 0.95


@pytest.mark.parametrize('direction', ['horizontal', 'vertical'])
def test_a_cascade_predicts_a_flipped_view_as_any_other_image(direction):
    """mmdet's cascades try to flip the masks of a view that says it is flipped, and fail."""
    torch.manual_seed(0)
    cfg = Config.fromfile(CONFIGS / 'cascade_mask_rcnn_mambavision_t_shapes.py')
    cfg.model.test_cfg.rcnn.score_thr = 0.  # untrained
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = revert_sync_batchnorm(MODELS.build(dict(cfg.tta_model, module=cfg.model))).eval()
    image = torch.randint(0, 256, (3, 96, 128), dtype=torch.uint8)

    def predict(detector, nest, **meta):
        sample = DetDataSample(metainfo=dict(
            img_shape=(96, 128), ori_shape=(48, 64), scale_factor=(2., 2.), **meta))
        with torch.no_grad():
            predicted, = detector.test_step(dict(inputs=nest([image]), data_samples=nest([sample])))
        return predicted

    plain = predict(model.module, lambda batch: batch, flip=False, flip_direction=None).pred_instances
    merged = predict(model, lambda batch: [batch], flip=True, flip_direction=direction)
    assert merged.flip
    assert len(plain) > 5
    # One view: NMS removes nothing the detector has not removed itself.
    merged = merged.pred_instances
    torch.testing.assert_close(merged.scores, plain.scores)
    torch.testing.assert_close(merged.masks, plain.masks.flip(FLIPS[direction][0] + 1))
    torch.testing.assert_close(merged.bboxes, bbox_flip(plain.bboxes, (48, 64), direction))
