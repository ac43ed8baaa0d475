"""Polygons of label maps, found row by row, against those of each label's mask as a whole."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvision_mamba.inference.tiled.label_polygons import label_polygons
from mmvision_mamba.inference.tiled.outlines import polygons


def found_in(labels, step=1, left_out=()):
    rows = (labels[top:top + step] for top in range(0, len(labels), step))
    return list(label_polygons(rows, labels.shape[1], left_out))


def normal(ring):
    """A ring from its least corner on, without those that lie on a straight line."""
    points = [tuple(map(int, point)) for point in ring[:-1]]
    start = points.index(min(points))
    options = [points[i:] + points[:i] for i in range(len(points)) if points[i] == points[start]]
    return tuple(min(options))


def as_set(areas):
    return sorted((int(label), normal(rings[0]), tuple(sorted(map(normal, rings[1:])))) for label, rings in areas)


@settings(deadline=None, max_examples=150)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(1, 4), block=st.integers(1, 4), step=st.integers(1, 5))
def test_they_are_those_of_masks(seed, classes, block, step):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 13, 2)
    labels = rng.integers(0, classes, (height, width)).repeat(block, 0).repeat(block, 1)[:14, :14]
    expected = [(label, rings) for label in range(classes) for rings in polygons(labels == label)]
    assert as_set(found_in(labels, step)) == as_set(expected)


def test_labels_that_are_left_out_have_no_polygons():
    labels = np.array([[1, 1, 255], [1, 2, 255], [1, 1, 255]])
    found = found_in(labels, left_out=[255])
    assert sorted(label for label, _ in found) == [1, 2]
    (_, rings), = [one for one in found if one[0] == 1]
    assert len(rings) == 1  # a bay, no hole
    assert found_in(np.full((3, 4), 255), left_out=[255]) == []


def test_an_area_comes_as_soon_as_it_has_ended():
    labels = np.zeros((6, 4), int)
    labels[1, 1] = 3
    given_rows = []

    def rows():
        for row in labels:
            given_rows.append(row)
            yield row[None]
    first = next(label_polygons(rows(), 4))
    assert first[0] == 3 and len(given_rows) == 3


@pytest.mark.parametrize('shape', [(1, 1), (1, 7), (7, 1)])
def test_narrow_maps(shape):
    (label, rings), = found_in(np.full(shape, 5))
    assert label == 5 and len(rings) == 1 and np.array_equal(rings[0][0], rings[0][-1])
    assert rings[0].max(0).tolist() == [shape[1], shape[0]] and len(rings[0]) == 5
