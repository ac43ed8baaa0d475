"""Calibration: the expected calibration error against its definition."""
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmvision_mamba.evaluation.calibration import calibration


@given(st.lists(st.tuples(st.integers(0, 1000), st.booleans()), min_size=1, max_size=60))
def test_the_error_is_the_mean_distance_of_bins(items):
    scores, right = np.array([score / 1000 for score, _ in items]), np.array([right for _, right in items])
    error = 0.
    for low in range(10):
        inside = (scores * 1000 > low * 100) & (scores * 1000 <= low * 100 + 100) | (low == 0) & (scores == 0)
        if inside.any():
            error += inside.sum() * abs(scores[inside].mean() - right[inside].mean()) / len(scores)
    measured = calibration(scores, right)
    assert measured.error == pytest.approx(error) and measured.counts.sum() == len(scores)
    assert measured.bias == pytest.approx(scores.mean() - right.mean())


def test_nothing_has_no_error():
    assert math.isnan(calibration(np.array([]), np.array([], bool)).error)
