"""Boundary IoU against the paper's definition: masks less their erosions, class by class."""
import cv2
import numpy as np
import pytest

from mmvision_mamba.evaluation.boundary_iou import boundary, count_boundaries


def of_mask(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels of a mask that are within `width` of its edge: outside of the image is outside of the mask."""
    padded = np.pad(mask.astype(np.uint8), 1)
    return mask & ~cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=width)[1:-1, 1:-1].astype(bool)


def maps(seed, shape=(60, 90), classes=4):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (6, 9))
    truth = coarse.repeat(shape[0] // 6, 0).repeat(shape[1] // 9, 1)
    return truth, np.roll(truth, rng.integers(0, 4, 2), (0, 1))


@pytest.mark.parametrize('seed', range(4))
def test_counts_are_those_of_masks_less_their_erosions(seed):
    truth, predicted = maps(seed)
    valid = np.ones(truth.shape, bool)
    common, either = count_boundaries(truth, predicted, 4, valid)
    width = round(0.02 * np.hypot(60, 90))
    for label in range(4):
        a, b = of_mask(truth == label, width), of_mask(predicted == label, width)
        assert (common[label], either[label]) == ((a & b).sum(), (a | b).sum())


def test_a_perfect_prediction_has_iou_1_and_pixels_that_do_not_count_are_left_out():
    truth, _ = maps(0)
    valid = np.ones(truth.shape, bool)
    valid[:20] = False
    common, either = count_boundaries(truth, np.where(valid, truth, 3), 4, valid)
    assert (common == either).all() and either.any()


def test_many_classes_and_one_pixel():
    assert boundary(np.array([[30000]]), 1).all()
    assert not boundary(np.zeros((9, 9), int), 2)[2:-2, 2:-2].any()
