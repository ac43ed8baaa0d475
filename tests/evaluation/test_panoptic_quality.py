"""Panoptic quality by hand and against its definition."""
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from mmvision_mamba.evaluation.panoptic_quality import Counts, count_segments, mean_quality

from ..helpers.panoptic_oracle import tally

CAT, DOG, SKY = range(3)


def row(text: str) -> np.ndarray:
    """Ids of a picture of one row, a digit each."""
    return np.array([[int(char) for char in text]])


@pytest.mark.parametrize(('truth', 'true_segments', 'predicted', 'predicted_segments', 'expected'), [
    ('1111', {1: (CAT, False)}, '2222', {2: CAT}, {CAT: Counts(1., 1)}),
    ('1111', {1: (CAT, False)}, '2222', {2: DOG}, {CAT: Counts(missed=1), DOG: Counts(false=1)}),
    # Half is not over half.
    ('1122', {1: (CAT, False), 2: (SKY, False)}, '1111', {1: CAT}, {CAT: Counts(false=1, missed=1),
                                                                     SKY: Counts(missed=1)}),
    ('11122', {1: (CAT, False), 2: (SKY, False)}, '11113', {1: CAT, 3: SKY}, {CAT: Counts(3 / 4, 1),
                                                                              SKY: Counts(false=1, missed=1)}),
    # Void pixels don't count in the union ...
    ('110000', {1: (CAT, False)}, '111111', {1: CAT}, {CAT: Counts(1., 1)}),
    # ... and what lies on them by more than half is nothing, by half is false.
    ('110000', {1: (CAT, False)}, '000222', {2: DOG}, {CAT: Counts(missed=1)}),
    ('112200', {1: (CAT, False), 2: (SKY, False)}, '110333', {1: CAT, 3: DOG}, {CAT: Counts(1., 1),
                                                                                SKY: Counts(missed=1)}),
    ('112200', {1: (CAT, False), 2: (SKY, False)}, '113333', {1: CAT, 3: DOG},
     {CAT: Counts(1., 1), SKY: Counts(missed=1), DOG: Counts(false=1)}),
    # Crowds: not matched, not missed; they excuse predictions of their class alone, and together.
    ('1111', {1: (CAT, True)}, '2222', {2: CAT}, {}),
    ('1111', {1: (CAT, True)}, '0000', {}, {}),
    ('1111', {1: (CAT, True)}, '2222', {2: DOG}, {DOG: Counts(false=1)}),
    ('112233', {1: (CAT, True), 2: (CAT, True), 3: (SKY, False)}, '444433', {4: CAT, 3: SKY}, {SKY: Counts(1., 1)}),
    ('110333', {1: (CAT, True), 3: (SKY, False)}, '444433', {4: CAT, 3: SKY}, {SKY: Counts(2 / 3, 1)}),
    # A crowd's pixels stay in the union.
    ('1122', {1: (CAT, False), 2: (CAT, True)}, '1111', {1: CAT}, {CAT: Counts(false=1, missed=1)}),
    ('11123', {1: (CAT, False), 2: (CAT, True), 3: (SKY, False)}, '11113', {1: CAT, 3: SKY},
     {CAT: Counts(3 / 4, 1), SKY: Counts(1., 1)}),
    # Nothing predicted; nothing there; ids that no list has are void.
    ('1122', {1: (CAT, False), 2: (SKY, False)}, '0000', {}, {CAT: Counts(missed=1), SKY: Counts(missed=1)}),
    ('0000', {}, '1111', {1: CAT}, {}),
    ('1177', {1: (CAT, False)}, '1155', {1: CAT, 5: DOG}, {CAT: Counts(1., 1)}),
    ('1122', {1: (CAT, False), 2: (SKY, False)}, '1199', {1: CAT}, {CAT: Counts(1., 1), SKY: Counts(missed=1)}),
])
def test_by_hand(truth, true_segments, predicted, predicted_segments, expected):
    assert count_segments(row(truth), true_segments, row(predicted), predicted_segments) == expected


def test_large_ids():
    truth = np.array([[256 ** 3 - 1, 256 ** 3 - 1], [70_000, 70_000]], np.int32)
    assert count_segments(truth, {256 ** 3 - 1: (CAT, False), 70_000: (SKY, False)}, truth[::-1],
                          {256 ** 3 - 1: SKY, 70_000: CAT}) == {CAT: Counts(1., 1), SKY: Counts(1., 1)}


def test_means():
    counts = {CAT: Counts(1.5, 2, 1, 1), SKY: Counts(missed=2), 7: Counts()}
    assert counts[CAT].quality() == dict(pq=0.5, sq=0.75, rq=2 / 3)
    assert counts[SKY].quality() == dict(pq=0, sq=0, rq=0)
    assert mean_quality(counts, [CAT, SKY]) == dict(pq=0.25, sq=0.375, rq=1 / 3, n=2)
    assert mean_quality(counts, [CAT, DOG, 7]) == dict(pq=0.5, sq=0.75, rq=2 / 3, n=1)  # absent classes don't count
    nothing = mean_quality(counts, [DOG, 7])
    assert nothing.pop('n') == 0 and all(map(math.isnan, nothing.values()))
    assert all(map(math.isnan, Counts().quality().values()))


IDS = st.integers(0, 5)
MAPS = st.tuples(st.integers(1, 5), st.integers(1, 7)).flatmap(lambda shape: st.tuples(
    arrays.arrays(np.int32, shape, elements=IDS), arrays.arrays(np.int32, shape, elements=IDS)))


@given(MAPS, st.dictionaries(st.integers(1, 5), st.tuples(st.integers(0, 2), st.booleans())),
       st.dictionaries(st.integers(1, 5), st.integers(0, 2)))
def test_against_the_definition(maps, true_segments, predicted_segments):
    counted = count_segments(maps[0], true_segments, maps[1], predicted_segments)
    expected = tally(maps[0], true_segments, maps[1], predicted_segments)
    assert {label: tuple(counts) for label, counts in counted.items()} == {
        label: (pytest.approx(sum(wanted.ious)), len(wanted.ious), wanted.false, wanted.missed)
        for label, wanted in expected.items()}


@given(arrays.arrays(np.int32, (5, 9), elements=IDS))
def test_a_perfect_prediction(ids):
    segments = {i: i % 3 for i in range(1, 6)}
    counted = count_segments(ids, {i: (label, False) for i, label in segments.items()}, ids, segments)
    assert all(counts.quality() == dict(pq=1, sq=1, rq=1) for counts in counted.values())
    assert sum(counts.matched for counts in counted.values()) == len(set(ids.ravel().tolist()) - {0})
