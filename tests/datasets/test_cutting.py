"""Objects cut to windows: nothing is lost, nothing moves, and what is hardly seen is ignored."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from mmvision_mamba.datasets.coco_masks import mask_area
from mmvision_mamba.datasets.cutting import cropped, cut_mask, cut_objects
from mmvision_mamba.datasets.tile_grid import Grid, Tiling
from mmvision_mamba.errors import DataError


def box(x1, y1, x2, y2, **more):
    return dict(bbox=[x1, y1, x2, y2], bbox_label=0, ignore_flag=0, **more)


def rectangle(x1, y1, x2, y2):
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def windows_of(height, width, tile=32, overlap=0.):
    grid = Grid.of(Tiling(tile, overlap), height, width)
    return [grid.window(row, column) for row in range(len(grid.rows)) for column in range(len(grid.columns))]


def encoded(pixels, compressed=True):
    code = coco_mask.encode(np.asfortranarray(pixels, np.uint8))
    if compressed:
        return dict(size=list(code['size']), counts=code['counts'].decode())
    flat = np.r_[0, pixels.ravel(order='F')]
    edges = np.flatnonzero(np.diff(np.r_[flat, 2])) if flat.size else []
    counts = np.diff(np.r_[0, edges]).tolist()
    return dict(size=list(pixels.shape), counts=counts)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), compressed=st.booleans(), share=st.sampled_from([0., 0.02, 0.5, 1.]))
def test_run_lengths_are_cropped_to_the_pixels_of_the_window(seed, compressed, share):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 40, 2).tolist()
    pixels = rng.random((height, width)) < share
    x, y = int(rng.integers(0, width)), int(rng.integers(0, height))
    wide, high = int(rng.integers(1, width - x + 1)), int(rng.integers(1, height - y + 1))
    found = cropped(encoded(pixels, compressed), (x, y, wide, high))
    part = pixels[y:y + high, x:x + wide]
    if not part.any():
        assert found == []
        return
    assert found['size'] == [high, wide] and np.array_equal(coco_mask.decode(found), part)
    assert found == encoded(part)


@settings(deadline=None, max_examples=60)
@given(points=st.lists(st.tuples(st.floats(-20, 120), st.floats(-20, 100)), min_size=3, max_size=9),
       overlap=st.sampled_from([0., 0.3]))
def test_parts_of_a_polygon_add_up_to_what_lies_in_the_picture(points, overlap):
    """By their signed areas, which hold for polygons that cross themselves, too."""
    def signed(polygon):
        x, y = np.array(polygon).reshape(-1, 2).T
        return (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
    polygon = [value for point in points for value in point]
    whole = sum(map(signed, cut_mask([polygon], (0, 0, 120, 80))))
    parts = [cut_mask([polygon], window) for window in windows_of(80, 120, 40)]
    assert sum(signed(part) for one in parts for part in one) == pytest.approx(whole, abs=1e-6)
    for window in windows_of(80, 120, 40, overlap):
        for part in cut_mask([polygon], window):
            xs, ys = part[0::2], part[1::2]
            assert 0 <= min(xs) <= max(xs) <= 40 and 0 <= min(ys) <= max(ys) <= 40


def test_pixels_of_a_cut_polygon_are_those_of_the_whole():
    polygon = rectangle(10, 5, 90, 61)
    whole = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], 70, 100)))
    for x, y, width, height in windows_of(70, 100, 32, 0.25):
        part = cut_mask([polygon], (x, y, width, height))
        assert np.array_equal(coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(part, height, width))),
                              whole[y:y + height, x:x + width])


def test_objects_lie_where_they_were():
    objects = [box(3, 4, 20, 25), box(60, 40, 70, 50, mask=[rectangle(60, 40, 70, 50)])]
    windows = windows_of(50, 70, 32, 0.5)
    for (x, y, width, height), found in zip(windows, cut_objects(objects, windows, 0.)):
        for part in found:
            whole = objects['mask' in part]['bbox']
            back = np.add(part['bbox'], [x, y, x, y])
            assert np.allclose(back, np.clip(whole, [x, y, x, y], [x + width, y + height] * 2))
            if 'mask' in part:
                assert mask_area(part['mask']) == pytest.approx((back[2] - back[0]) * (back[3] - back[1]))


@pytest.mark.parametrize(('mask', 'tight'), [(None, 32), ('polygon', 16), ('rle', 16)])
def test_the_box_of_a_cut_object_is_that_of_the_mask_that_is_left(mask, tight):
    """A triangle, whose part in the left window is lower than its box."""
    triangle = [0, 32, 64, 0, 64, 32]
    pixels = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([triangle], 32, 64)))
    more = {} if mask is None else dict(mask=[triangle] if mask == 'polygon' else encoded(pixels))
    left, _ = cut_objects([box(0, 0, 64, 32, **more)], [(0, 0, 32, 32), (32, 0, 32, 32)], 0.)
    part, = left
    assert part['bbox'][3] - part['bbox'][1] == pytest.approx(tight, abs=1)


@settings(deadline=None, max_examples=150)
@given(radii=st.lists(st.integers(8, 60), min_size=3, max_size=40), x=st.integers(0, 100), y=st.integers(0, 100),
       tile=st.sampled_from([16, 32, 50]))
def test_the_box_of_a_cut_outline_reaches_to_where_something_is_seen(radii, x, y, tile):
    """Stars with arms of any length, which enter windows in several places."""
    angles = np.arange(len(radii)) * 2 * np.pi / len(radii)
    star = np.stack([60 + radii * np.cos(angles), 60 + radii * np.sin(angles)], 1).round()
    polygon = star.ravel().tolist()
    pixels = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([polygon], 160, 160)))[y:y + tile, x:x + tile]
    found, = cut_objects([box(*star.min(0), *star.max(0), mask=[polygon])], [(x, y, tile, tile)], 0.)
    seen = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(found[0]['mask'], tile, tile))) if found else 0
    assert np.abs(np.subtract(seen, pixels, dtype=int)).sum() <= 2 * len(radii)  # those that an edge goes through
    fine = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects([(star.ravel() * 8).tolist()], 1280, 1280)))
    rows, columns = np.nonzero(fine[y * 8:(y + tile) * 8, x * 8:(x + tile) * 8])
    if found:  # within a pixel and a half, the tip of an arm that is thinner than an eighth of a pixel
        extent = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / 8
        assert np.abs(found[0]['bbox'] - extent).max() <= 1.5


def test_outlines_that_pass_a_window_beside_it_or_along_its_border_do_not_reach_into_it():
    passing = [-20, -20, 60, -20, 60, -5, -10, -5, -10, 20, 9, 20, 9, 25, -20, 25]  # on its left and above it: one foot
    along = [-20, -20, 0, -20, 0, 20, 9, 20, 9, 25, -20, 25]
    for polygon in (passing, along):
        assert [sorted(set(part[0::2]) | set(part[1::2])) for part in cut_mask([polygon], (0, 0, 32, 32))] == [
            [0, 9, 20, 25]]
    comb = [-5, 2, 9, 2, 9, 4, -5, 4, -5, 12, 7, 12, 7, 14, -9, 14, -9, 2]
    assert sorted((min(part[1::2]), max(part[0::2])) for part in cut_mask([comb], (0, 0, 32, 32))) == [(2, 9), (12, 7)]
    assert cut_mask([[-20, 0, 0, 0, 0, 32, -20, 32]], (0, 0, 32, 32)) == []


def test_what_is_hardly_seen_is_ignored():
    windows = [(0, 0, 32, 32), (32, 0, 32, 32)]
    ten_to_thirty = box(29, 0, 69, 10)  # 3 of 40 columns in the first
    crowd = box(0, 0, 40, 10) | dict(ignore_flag=1)
    flags = [[one['ignore_flag'] for one in found] for found in cut_objects([ten_to_thirty, crowd], windows, 0.25)]
    assert flags == [[1, 1], [0, 1]]
    flags = [[one['ignore_flag'] for one in found] for found in cut_objects([ten_to_thirty], windows, 0.)]
    assert flags == [[0], [0]]


def test_the_share_is_of_the_mask_where_there_is_one():
    """A flag on a long pole: half of the box is seen, a tenth of the object."""
    windows = [(0, 0, 32, 32), (32, 0, 32, 32)]
    mask = [rectangle(0, 0, 32, 1), rectangle(32, 0, 64, 9)]
    seen, _ = cut_objects([box(0, 0, 64, 9, mask=mask)], windows, 0.25)
    assert seen[0]['ignore_flag'] == 1
    seen, _ = cut_objects([box(0, 0, 64, 9)], windows, 0.25)
    assert seen[0]['ignore_flag'] == 0


def test_objects_larger_than_windows_are_learned():
    windows = windows_of(32, 320)
    found = cut_objects([box(0, 10, 320, 20), box(0, 0, 315, 5, mask=[rectangle(0, 0, 315, 5)])], windows, 0.5)
    assert [[one['ignore_flag'] for one in parts] for parts in found] == [[0, 0]] * 10


def test_slivers_under_a_pixel_are_left_out():
    windows = [(0, 0, 32, 32), (32, 0, 32, 32)]
    assert [len(found) for found in cut_objects([box(31.5, 0, 60, 10)], windows, 0.)] == [0, 1]
    assert [len(found) for found in cut_objects([box(31, 0, 60, 10)], windows, 0.)] == [1, 1]


def test_a_mask_that_does_not_reach_a_window_leaves_nothing_there():
    diagonal = [0, 0, 64, 64, 60, 64, 0, 4]
    windows = windows_of(64, 64)
    found = cut_objects([box(0, 0, 64, 64, mask=[diagonal])], windows, 0.)
    assert [len(parts) for parts in found] == [1, 0, 1, 1]
    assert cut_mask([[0, 0, 5, 5]], (0, 0, 32, 32)) == []  # two points


@pytest.mark.parametrize(('variable', 'objects', 'message'), [
    ('OBJECTS', 6, 'it has 6 objects, and 5 are allowed'), ('PARTS', 2, 'more than 5 parts in its tiles')])
def test_objects_and_their_parts_are_bounded(variable, objects, message, monkeypatch):
    monkeypatch.setenv(f'MMVISION_MAMBA_MAX_{variable}', '5')
    with pytest.raises(DataError, match=f'{message} .MMVISION_MAMBA_MAX_{variable}=NUMBER'):
        cut_objects([box(0, 0, 64, 64)] * objects, windows_of(64, 64), 0.)
    assert len(cut_objects([box(0, 0, 64, 64)], windows_of(64, 64), 0.)) == 4


@pytest.mark.parametrize('mask', [encoded(np.zeros((32, 64))), [rectangle(3, 3, 40, 3)]])
def test_a_mask_without_a_pixel_has_its_windows_coordinates(mask):
    _, right = cut_objects([box(0, 0, 64, 32, mask=mask)], windows_of(32, 64), 0.)
    assert [one['bbox'] for one in right] == [[0, 0, 32, 32]]
    assert all(0 <= value <= 32 for polygon in right[0]['mask'] for value in polygon)


def test_run_lengths_are_decoded_once_for_all_windows(monkeypatch):
    from mmvision_mamba.datasets import cutting
    asked = []
    monkeypatch.setattr(cutting, 'runs_of', lambda rle: asked.append(1) or rle['counts'])
    mask = encoded(np.ones((64, 96)), compressed=False)
    found = cut_objects([box(0, 0, 96, 64, mask=mask)], windows_of(64, 96), 0.)
    assert len(asked) == 1 and [mask_area(one['mask']) for parts in found for one in parts] == [1024] * 6
