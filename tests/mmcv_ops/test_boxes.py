"""Suppression of boxes beyond what compiled mmcv's kernels for CPUs take, and where its order is no promise."""
import numpy as np
import pytest
import torch

import mmvision_mamba  # noqa: F401  mmcv has operators then

pytest.importorskip('mmcv')

from mmcv.ops import batched_nms, nms, nms_match, soft_nms
from torchvision.ops import box_iou

from ..helpers.mmcv_operators.boxes import KINDS, draw_boxes

DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]


pytestmark = pytest.mark.usefixtures('our_operators')


def drawn(kind='apart', seed=0):
    return draw_boxes(np.random.RandomState(seed), kind)


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.float16])
def test_other_types_are_as_float32_of_the_same_numbers(dtype, autocast, device):
    boxes, scores = (tensor.to(device, dtype) for tensor in drawn())
    with torch.autocast(device, dtype, enabled=autocast and dtype != torch.float64):
        found, kept = nms(boxes, scores, 0.5)
        softened, left = soft_nms(boxes, scores)
        groups = nms_match(torch.cat([boxes, scores[:, None]], dim=1), 0.5)
    assert found.dtype == softened.dtype == dtype and kept.device.type == device
    assert torch.equal(kept, nms(boxes.float(), scores.float(), 0.5)[1])
    if dtype != torch.bfloat16:  # in which scores are equal, and their order is open
        assert torch.equal(left, soft_nms(boxes.float(), scores.float())[1])
        assert torch.equal(torch.stack([group[0] for group in groups]),
                           nms(boxes.float(), scores.float(), 0.5 - 1e-7)[1])


def test_scores_of_another_type_than_boxes():
    boxes, scores = drawn()
    scores = scores.half()
    assert torch.equal(nms(boxes, scores, 0.5)[1], nms(boxes, scores.float(), 0.5)[1])
    assert soft_nms(boxes, scores)[0].dtype == torch.float32


def test_any_memory_format():
    boxes, scores = drawn()
    columns, strided = boxes.T.contiguous().T, torch.stack([scores, scores], dim=1)[:, 0]
    for operator in (lambda *args: nms(*args, 0.5), soft_nms):
        assert torch.equal(operator(columns, strided)[1], operator(boxes, scores)[1])


@pytest.mark.parametrize('offset', [0, 1])
@pytest.mark.parametrize('kind', KINDS[:3])
def test_equal_scores_in_any_order(kind, offset):
    """Kept boxes don't suppress each other; every other one is suppressed by one at least as good."""
    boxes, scores = drawn(kind)
    scores = (scores * 4).round() / 4
    _, kept = nms(boxes, scores, 0.5, offset)
    edges = boxes + torch.tensor([0, 0, offset, offset])
    overlaps = box_iou(edges, edges[kept]).nan_to_num()
    proper = ((edges[:, 2:] - edges[:, :2]) >= 0).all(dim=1)  # of others, box_iou has another notion
    others = overlaps[kept][proper[kept]][:, proper[kept]].fill_diagonal_(0)
    assert (others <= 0.5).all() and (scores[kept].diff() <= 0).all()
    lost = proper.clone()
    lost[kept] = False
    assert ((overlaps[lost] > 0.5) & (scores[kept] >= scores[lost, None])).any(dim=1).all()


def test_thresholds_are_those_of_float32():
    """An overlap of 0.7 in float32, which is below 0.7: not above the threshold, as mmcv has it."""
    boxes = torch.tensor([[0, 0, 10, 10], [0, 0, 10, 7.]])
    assert len(nms(boxes, torch.tensor([0.9, 0.8]), 0.7)[1]) == 2


def test_many_boxes_go_class_by_class():
    boxes, scores = drawn()
    classes = torch.arange(len(boxes)) % 3
    together = batched_nms(boxes, scores, classes, dict(type='nms', iou_threshold=0.5))
    apart = batched_nms(boxes, scores, classes, dict(type='nms', iou_threshold=0.5, split_thr=10))
    assert torch.equal(together[1], apart[1]) and len(boxes) > 10
