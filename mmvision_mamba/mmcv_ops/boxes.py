"""Suppression of boxes.

Boxes are (N, 4): x1, y1, x2, y2. With `offset` 1, the pixels of x2 and y2 belong to the box. mmcv takes float32 alone;
here float64 is computed as it is, and halves in float32.
"""
import math

import numpy as np
import torch
import torchvision  # noqa: F401  registers the operators
from torch import Tensor

from .precision import computed_in


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices, (K,), of the boxes that no better one overlaps by more than `iou_threshold`, best first.

    Args:
        boxes: (N, 4).
        scores: (N,).
        iou_threshold: rounded to float32, in which mmcv compares.
        offset: 0 or 1.
    """
    dtype = computed_in(boxes)
    boxes = boxes.to(dtype)
    if offset:
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:] + offset], dim=1)
    return torch.ops.torchvision.nms(boxes, scores.to(dtype), _float32(iou_threshold))


def softnms(boxes: Tensor, scores: Tensor, dets: Tensor, iou_threshold: float, sigma: float, min_score: float,
            method: int, offset: int) -> Tensor:
    """Soft NMS (arXiv 1704.04503): indices, (K,), of the boxes whose scores stay, in the order they are taken.

    The best box is taken and the scores of those that overlap it are lowered, until none is left. Of equal scores, the
    one that mmcv takes first comes first. All tensors are on the CPU: mmcv brings them there.

    Args:
        boxes: (N, 4).
        scores: (N,).
        dets: (N, 5); its first K rows receive the boxes taken and their lowered scores.
        iou_threshold: methods 0 and 1 lower scores from this overlap on.
        sigma: of method 2, exp(-overlap² / sigma).
        min_score: boxes whose score falls below it are dropped.
        method: scores are multiplied by 0 (method 0), by 1 - overlap (1), or by a Gaussian of the overlap (2).
        offset: 0 or 1.
    """
    dtype = computed_in(boxes)
    table = torch.cat([boxes.to(dtype), scores.to(dtype)[:, None]], dim=1).T.contiguous().numpy()
    indices, taken, end = np.arange(len(boxes)), 0, len(boxes)
    while taken < end:
        best = taken + table[4, taken:end].argmax()
        for row in (*table, indices):
            row[taken], row[best] = row[best], row[taken]
        rest, left = table[:, taken + 1:end], indices[taken + 1:end]
        overlaps = _overlaps(table[:4, taken], rest[:4], offset)
        if method == 2:
            rest[4] *= np.exp(-(overlaps * overlaps) / table.dtype.type(sigma))
        else:
            rest[4] *= np.where(overlaps >= table.dtype.type(iou_threshold), 0 if method == 0 else 1 - overlaps, 1)
        stays = rest[4] >= min_score
        count = np.count_nonzero(stays)
        if count < len(stays):  # as mmcv does, for the order of equal scores: each gap takes the last that stays
            gaps, fillers = np.flatnonzero(~stays[:count]), count + np.flatnonzero(stays[count:])[::-1]
            rest[:, gaps], left[gaps] = rest[:, fillers], left[fillers]
        taken, end = taken + 1, taken + 1 + count
    dets[:end] = torch.from_numpy(table[:, :end].T)
    return torch.from_numpy(indices[:end])


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Indices of the boxes, in groups: one that NMS keeps, then those that it suppresses, best first.

    Args:
        dets: (N, 5), boxes and scores, on the CPU.
        iou_threshold: a box that overlaps by this much is suppressed; `nms` wants more.
    """
    table = dets.to(computed_in(dets)).T.contiguous().numpy()
    order, groups = np.argsort(-table[4], kind='stable'), []
    while order.size:
        best, rest = order[0], order[1:]
        suppressed = _overlaps(table[:4, best], table[:4, rest], 0) >= table.dtype.type(iou_threshold)
        groups.append([int(best), *rest[suppressed].tolist()])
        order = rest[~suppressed]
    return groups


def _float32(number: float) -> float:
    """The float32 closest to `number`, by arithmetic that compilers trace."""
    mantissa, exponent = math.frexp(number)
    return math.ldexp(round(mantissa * 2**24), exponent - 24)


def _overlaps(box: np.ndarray, boxes: np.ndarray, offset: int) -> np.ndarray:
    """Intersection over union, (N,), of a box (4,) and boxes (4, N); 0 where the union is nothing."""
    sides = np.minimum(box[2:, None], boxes[2:]) - np.maximum(box[:2, None], boxes[:2]) + offset
    width, height = np.maximum(sides, 0)
    intersection = width * height
    union = _area(box, offset) + _area(boxes, offset) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union != 0)


def _area(boxes: np.ndarray, offset: int) -> np.ndarray:
    width, height = boxes[2:] - boxes[:2] + offset
    return width * height
