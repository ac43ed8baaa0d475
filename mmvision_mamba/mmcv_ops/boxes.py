"""Suppression of boxes."""
import numpy as np
import torchvision
from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices, (K,), of the boxes that no better one overlaps by more than `iou_threshold`, best first.

    Args:
        boxes: (N, 4), x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: mmcv compares in float32.
        offset: 1: the pixels of x2 and y2 belong to the box.
    """
    if offset:
        boxes = boxes + boxes.new_tensor((0, 0, offset, offset))
    return torchvision.ops.nms(boxes, scores.to(boxes.dtype), float(np.float32(iou_threshold)))
