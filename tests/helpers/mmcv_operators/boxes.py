"""Suppression of boxes."""
import numpy as np
import torch
from torch import Tensor

from .calls import on_device, operator, uniform

KINDS = (
    'apart',  # boxes of all sizes, wherever
    'ties',  # on a coarse grid: overlaps equal to the threshold, the same box twice
    'degenerate',  # among others points, lines, and corners the wrong way round
    'far',  # coordinates in which float32 has few digits left
    'one', 'none')


def draw_boxes(random: np.random.RandomState, kind: str, most: int = 120) -> tuple[Tensor, Tensor]:
    """Boxes (N, 4) and scores (N,) of one of `KINDS`. No two scores are equal: their order would be open."""
    count = dict(one=1, none=0).get(kind, random.randint(most // 2, most))
    corners, sizes = uniform(random, count, 2, low=0, high=60), uniform(random, count, 2, low=1, high=40)
    scores = on_device(random.permutation(count) / max(count, 1)).float()
    if kind == 'ties':
        corners, sizes = (corners / 12).round() * 4, (sizes / 10).round() * 4
    elif kind == 'degenerate':
        sizes *= uniform(random, count, 2, low=-1, high=2).round()
    elif kind == 'far':
        corners += 1e6
    return torch.cat([corners, corners + sizes], dim=1), scores


@operator(kind=KINDS, offset=(0, 1), threshold=(.3, .5), options=({}, dict(score_threshold=.4, max_num=7)))
def nms(random, kind, offset, threshold, options):
    from mmcv.ops import nms
    detections, kept = nms(*draw_boxes(random, kind), threshold, offset, **options)
    return dict(detections=detections, kept=kept)


@operator(split_thr=(10000, 40), class_agnostic=(False, True), max_num=(-1, 9), kind=('apart', 'ties'))
def batched_nms(random, split_thr, class_agnostic, max_num, kind):
    from mmcv.ops import batched_nms
    boxes, scores = draw_boxes(random, kind)
    classes = on_device(random.randint(0, 5, len(boxes)))
    detections, kept = batched_nms(boxes, scores, classes, dict(
        type='nms', iou_threshold=.5, split_thr=split_thr, max_num=max_num), class_agnostic)
    return dict(detections=detections, kept=kept)


@operator(1e-6, kind=KINDS, offset=(0, 1), method=('naive', 'linear', 'gaussian'), min_score=(1e-3, .2))
def soft_nms(random, kind, offset, method, min_score):
    from mmcv.ops import soft_nms
    boxes, scores = draw_boxes(random, kind, most=60)
    if kind == 'ties':
        scores = (scores * 8).round() / 8
    if method == 'gaussian':  # of two boxes without an area, compiled mmcv makes NaN
        some = (boxes[:, 2:] - boxes[:, :2] + offset).prod(dim=1) != 0
        boxes, scores = boxes[some], scores[some]
    detections, kept = soft_nms(boxes, scores, .3, .5, min_score, method, offset)
    return dict(detections=detections, kept=kept)


@operator(kind=KINDS, threshold=(.3, .5))
def nms_match(random, kind, threshold):
    from mmcv.ops import nms_match
    boxes, scores = draw_boxes(random, kind)
    groups = nms_match(torch.cat([boxes, scores[:, None]], dim=1), threshold)
    members = torch.cat([torch.zeros(0, dtype=torch.int64), *(group.cpu() for group in groups)])
    return dict(members=members, sizes=torch.tensor([len(group) for group in groups], dtype=torch.int64))
