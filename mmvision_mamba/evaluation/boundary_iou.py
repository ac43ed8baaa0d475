"""Boundary IoU of label maps, after Cheng et al., Boundary IoU (CVPR 2021, arXiv 2103.16562)."""
import math

import cv2
import numpy as np

WIDTH = 0.02  # of the boundary, as a share of the image's diagonal: the paper's


def boundary(labels: np.ndarray, width: int) -> np.ndarray:
    """The pixels of a label map that are at most `width` pixels from another label or the image's border.

    Args:
        labels: int `(H, W)`, from 0 to 32,766.
        width: in pixels, 1 or more; distances are those of a king on a chessboard.

    Returns:
        bool `(H, W)`.
    """
    # With a border of a label of its own, a window has two labels where its least is not its most.
    window = np.ones((2 * width + 1,) * 2, np.uint8)
    values = np.ascontiguousarray(labels, np.int16)
    options = dict(borderType=cv2.BORDER_CONSTANT)
    return (cv2.erode(values, window, borderValue=-1, **options) != values) | (
        cv2.dilate(values, window, borderValue=-1, **options) != values)


def count_boundaries(truth: np.ndarray, predicted: np.ndarray, classes: int, valid: np.ndarray) -> tuple[
        np.ndarray, np.ndarray]:
    """Pixels of the boundaries of each class that truth and prediction have in common, and that either has.

    Args:
        truth, predicted: labels `(H, W)` from 0 to `classes` - 1 where `valid`.
        classes: their number.
        valid: bool `(H, W)`: pixels that count; others are another label in both.

    Returns:
        `(classes,)` twice; their quotient over all images is the boundary IoU.
    """
    width = max(1, round(WIDTH * math.hypot(*truth.shape)))
    truth, predicted = (np.where(valid, labels.astype(np.int16), np.int16(classes)) for labels in (truth, predicted))
    of_truth, of_prediction = boundary(truth, width) & valid, boundary(predicted, width) & valid
    common = of_truth & of_prediction & (truth == predicted)
    numbers = [np.bincount(part, minlength=classes) for part in (
        truth[of_truth], predicted[of_prediction], truth[common])]
    return numbers[2], numbers[0] + numbers[1] - numbers[2]
