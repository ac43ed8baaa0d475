"""Precision, recall and F1 over the threshold, against counting."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmvision_mamba.evaluation.detection_matches import Found
from mmvision_mamba.evaluation.score_thresholds import GRID, Counts, between


def found(scores, right, number) -> Found:
    n = len(scores)
    return Found.sort(np.zeros(n, int), np.array(scores, float), np.array(right, bool)[None],
                      np.zeros((1, n), bool), np.array([number]))


@given(st.lists(st.tuples(st.integers(1, 100), st.booleans()), max_size=30), st.integers(0, 20))
def test_counts_at_thresholds_are_those_of_counting(items, more):
    scores, right = [score / 100 for score, _ in items], [right for _, right in items]
    number = sum(right) + more
    counts = Counts.of(found(scores, right, number), 0)
    curves = counts.at(GRID)
    best = 0.
    for i, threshold in enumerate(GRID):
        above = [r for s, r in zip(scores, right) if s > threshold]
        f1 = 2 * sum(above) / (len(above) + number) if len(above) + number else np.nan
        assert curves['f1'][i] == pytest.approx(f1, nan_ok=True)
        assert curves['recall'][i] == pytest.approx(sum(above) / number if number else np.nan, nan_ok=True)
        assert curves['precision'][i] == pytest.approx(sum(above) / len(above) if above else np.nan, nan_ok=True)
        best = max(best, np.nan_to_num(f1))
    at = counts.best()
    if not any(right):
        assert at is None
        return
    kept = [r for s, r in zip(scores, right) if s > at.score_thr]
    assert at.score_thr not in scores and at.f1 == pytest.approx(2 * sum(kept) / (len(kept) + number))
    assert at.f1 >= best - 1e-12 and at.recall == sum(kept) / number and at.precision == sum(kept) / len(kept)


def test_the_threshold_has_as_few_digits_as_tell_two_scores_apart():
    assert between(0.2, 0.6) == 0.4 and 0.123456 < between(0.123456, 0.123457) < 0.123457
    assert Counts.of(found([0.9, 0.5, 0.4], [True, True, False], 2)).best().score_thr == 0.45
