import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mmvision_mamba.inference.tiled.outlines import polygons


def area(ring: np.ndarray) -> float:
    """Positive where a ring runs clockwise, rows drawn downwards."""
    x, y = ring.T
    return (x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2


@given(pixels=arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8))))
@settings(max_examples=50)
def test_polygons_have_the_area_of_the_mask_and_no_needless_corners(pixels):
    parts = polygons(pixels)
    assert sum(area(ring) for part in parts for ring in part) == -pixels.sum()
    for part in parts:
        assert area(part[0]) < 0 and all(area(hole) > 0 for hole in part[1:])
        for ring in part:
            assert np.array_equal(ring[0], ring[-1])
            sides = np.diff(ring, axis=0)
            assert ((sides == 0).sum(1) == 1).all()  # along pixels
            assert ((sides * np.roll(sides, -1, 0)).sum(1) == 0).all()  # each corner turns


def test_a_ring_with_an_island_and_corners_that_touch():
    pixels = np.zeros((7, 9), bool)
    pixels[:5, :5] = True
    pixels[1:4, 1:4] = False
    pixels[2, 2] = pixels[5, 5] = True
    parts = polygons(pixels)
    assert sorted(len(part) for part in parts) == [1, 1, 2]
    outer, hole = next(part for part in parts if len(part) == 2)
    assert {tuple(corner) for corner in outer} == {(0, 0), (5, 0), (5, 5), (0, 5)}
    assert {tuple(corner) for corner in hole} == {(1, 1), (4, 1), (4, 4), (1, 4)}


def test_nothing_has_no_polygons():
    assert polygons(np.zeros((3, 3), bool)) == []
