import random

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mmvision_mamba.datasets.tile_grid import Grid, Tiling
from mmvision_mamba.inference.tiled.instances import Instance, Mask
from mmvision_mamba.inference.tiled.merging import merge

SIZE = 200
TILING = Tiling(64, 0.25)


def ellipse(box) -> np.ndarray:
    """The pixels of an ellipse in the picture."""
    x1, y1, x2, y2 = box
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    return ((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2 <= 0.25


def seen(objects, masks=True, tiling=TILING, reduced=False) -> list[Instance]:
    """What a perfect detector finds in the windows of a picture with these (label, pixels)."""
    grid = Grid.of(tiling, SIZE, SIZE)
    windows = [(grid.window(i, j), 1) for i in range(len(grid.rows)) for j in range(len(grid.columns))]
    found = []
    for (x, y, width, height), scale in windows + [((0, 0, SIZE, SIZE), 4)] * reduced:
        for number, (label, pixels) in enumerate(objects):
            part = pixels[y:y + height, x:x + width]
            part = part[::scale, ::scale]
            if part.sum() < (3 if scale == 1 else 25):
                continue
            mask = Mask.of(part, x, y)
            box = tuple(float(scale * side) for side in (mask.x, mask.y, mask.x + mask.width, mask.y + mask.height))
            found.append(Instance(label, 0.9 - number / 100, box, (x, y, width, height), mask if masks else None, None,
                                  scale))
    return found


def pixels_of(instance: Instance) -> np.ndarray:
    whole = np.zeros((SIZE, SIZE), bool)
    mask = instance.mask
    whole[mask.y:mask.y + mask.height, mask.x:mask.x + mask.width] = mask.pixels()
    return whole


@pytest.mark.parametrize('reduced', [False, True])
@pytest.mark.parametrize('box', [(40, 20, 70, 50), (50, 50, 150, 60), (5, 5, 195, 195), (62, 10, 66, 190),
                                 (90, 90, 110, 110), (0, 0, 63, 63)])
def test_an_object_over_borders_is_one_instance_with_its_whole_mask(box, reduced):
    truth = ellipse(box)
    merged, = merge(seen([(1, truth)], reduced=reduced), SIZE, SIZE)
    assert np.array_equal(pixels_of(merged), truth)
    rows, columns = np.nonzero(truth)
    assert merged.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert (merged.label, merged.score, merged.window, merged.scale) == (1, 0.9, (0, 0, SIZE, SIZE), 1)


def test_the_reduced_picture_fills_what_windows_missed():
    truth = ellipse((5, 5, 195, 195))
    parts = seen([(0, truth)], reduced=True)
    without_middle = [one for one in parts if not (40 < one.window[0] < 120 and 40 < one.window[1] < 120)]
    assert len(without_middle) < len(parts)
    merged, = merge(without_middle, SIZE, SIZE)
    found = pixels_of(merged)
    assert (found & truth).sum() / (found | truth).sum() > 0.99 and merged.box == (5, 5, 195, 195)
    alone, = merge([one for one in parts if one.scale > 1] + seen([(1, ellipse((0, 0, 9, 9)))])[:1], SIZE, SIZE)[:1]
    coarse = truth[::4, ::4].repeat(4, 0).repeat(4, 1)
    assert np.array_equal(pixels_of(alone), coarse)
    assert np.array_equal(pixels_of(*merge([one for one in parts if one.scale > 1], SIZE, SIZE)), coarse)


def test_neighbours_whose_boxes_overlap_stay_apart():
    """Two in what windows share: each window sees both, and their boxes cover more than half of each other."""
    boxes = [(45, 10, 61, 40), (50, 12, 66, 42)]
    objects = [(0, ellipse(box)) for box in boxes]
    for masks in (True, False):
        assert len(merge(seen(objects, masks), SIZE, SIZE)) == 2


def test_a_small_object_in_the_box_of_a_large_one_stays_apart_where_a_border_cuts_it():
    objects = [(0, ellipse((20, 20, 150, 150))), (0, ellipse((52, 52, 74, 74)))]
    assert len(merge(seen(objects, masks=False, reduced=True), SIZE, SIZE)) == 2


def test_a_sliver_that_a_window_saw_poorly_goes_to_what_covers_it():
    whole = Instance(0, 0.9, (40., 10., 70., 40.), (36, 0, 64, 64))
    sliver = Instance(0, 0.6, (50., 12., 64., 24.), (0, 0, 64, 64))
    merged, = merge([sliver, whole], SIZE, SIZE)
    assert merged.box == whole.box and merged.score == 0.9
    apart = Instance(0, 0.6, (46., 12., 58., 24.), (0, 0, 64, 64))  # no border cuts it
    assert len(merge([apart, whole], SIZE, SIZE)) == 2


def test_classes_are_not_mixed():
    assert len(merge(seen([(0, ellipse((30, 30, 90, 90))), (1, ellipse((30, 30, 90, 90)))]), SIZE, SIZE)) == 2


def test_what_one_window_found_stays_as_it_is():
    instances = seen([(0, ellipse((5, 5, 30, 30))), (0, ellipse((6, 6, 30, 30))), (1, ellipse((9, 9, 20, 20)))],
                     tiling=Tiling(SIZE))
    assert [(one.mask, one.box) for one in merge(instances[::-1], SIZE, SIZE)] == [
        (one.mask, one.box) for one in instances[::-1]]


OBJECTS = st.lists(st.tuples(
    st.integers(0, 1), st.tuples(st.integers(0, 150), st.integers(0, 150), st.integers(8, 49), st.integers(8, 49))),
    min_size=1, max_size=6)


@given(objects=OBJECTS, masks=st.booleans(), reduced=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_merging_depends_on_no_order_and_changes_nothing_the_second_time(objects, masks, reduced, seed):
    instances = seen([(label, ellipse((x, y, x + w, y + h))) for label, (x, y, w, h) in objects], masks,
                     reduced=reduced)
    assume(len({one.window for one in instances}) > 1)  # those of one window keep their order
    merged = merge(instances, SIZE, SIZE)
    random.Random(seed).shuffle(instances)
    assert merge(instances, SIZE, SIZE) == merged
    assert merge(merged, SIZE, SIZE) == merged


@given(box=st.tuples(st.integers(0, 100), st.integers(0, 100), st.integers(6, 99), st.integers(6, 99)),
       masks=st.booleans(), overlap=st.sampled_from([0.15, 0.25, 0.5]))
@settings(max_examples=30, deadline=None)
def test_any_object_is_one_instance(box, masks, overlap):
    x, y, width, height = box
    truth = ellipse((x, y, x + width, y + height))
    merged, = merge(seen([(0, truth)], masks, Tiling(64, overlap)), SIZE, SIZE)
    rows, columns = np.nonzero(truth)
    assert merged.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert not masks or np.array_equal(pixels_of(merged), truth)
