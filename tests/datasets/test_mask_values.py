"""Pixel values of masks: what resizing, blur and JPEG leave between those of the classes is recognised."""
import cv2
import numpy as np
import pytest

pytest.importorskip('cv2')

from hypothesis import given, settings
from hypothesis import strategies as st

from mmvision_mamba.datasets.mask_values import mask_values
from mmvision_mamba.errors import DataError


def blobs(levels, size=(150, 211), seed=0):
    """(H, W) areas of every level, round and straight."""
    rng, mask = np.random.default_rng(seed), np.full(size, levels[0], np.uint8)
    for i in range(30):
        centre = int(rng.integers(size[1])), int(rng.integers(size[0]))
        value = int(levels[i % len(levels)])
        if i % 2:
            cv2.circle(mask, centre, int(rng.integers(8, 30)), value, -1)
        else:
            cv2.rectangle(mask, centre, (centre[0] + 30, centre[1] + 22), value, -1)
    return mask


def smoothed(mask, way):
    height, width = mask.shape
    if way == 'smaller':
        return cv2.resize(mask, (width * 2 // 3, height * 2 // 3), interpolation=cv2.INTER_AREA)
    if way == 'larger':
        return cv2.resize(mask, (width * 3, height * 3), interpolation=cv2.INTER_LINEAR)
    if way == 'cubic':
        return cv2.resize(mask, (width * 4 // 3, height * 4 // 3), interpolation=cv2.INTER_CUBIC)
    if way == 'blur':
        return cv2.GaussianBlur(mask, (7, 7), 2)
    return cv2.imdecode(cv2.imencode('.jpg', mask, [cv2.IMWRITE_JPEG_QUALITY, 85])[1], cv2.IMREAD_UNCHANGED)


def saved(folder, *masks):
    paths = [str(folder / f'{i}.png') for i in range(len(masks))]
    for path, mask in zip(paths, masks):
        assert cv2.imwrite(path, mask)
    return paths


@pytest.mark.parametrize('way', ['smaller', 'larger', 'cubic', 'blur', 'jpeg'])
@pytest.mark.parametrize('levels', [(0, 255), (0, 100, 200)])
def test_smoothed_masks_are_named(way, levels, tmp_path):
    masks = saved(tmp_path, *(smoothed(blobs(levels, seed=i), way) for i in range(3)))
    with pytest.raises(DataError, match=r'these look like resampled masks: \d+ levels .*, \d+ in-between values, '
                                        r'[\d.e-]+% of the pixels(.|\n)*nearest neighbour'):
        mask_values(masks).check_resampled()


def test_two_levels_are_counted_and_a_threshold_offered(tmp_path):
    with pytest.raises(DataError, match=r'2 levels \(0, 255\), \d+ in-between(.|\n)*a threshold at 127'):
        mask_values(saved(tmp_path, smoothed(blobs((0, 255)), 'smaller'))).check_resampled()


def test_what_compression_leaves_far_from_a_level_is_none(tmp_path):
    mask = smoothed(blobs((0, 255)), 'jpeg')
    mask[:30, :30] = 0
    mask[4:7, 4:7] = 22  # few pixels, and equal neighbours
    with pytest.raises(DataError, match=r'2 levels \(0, 255\)'):
        mask_values(saved(tmp_path, mask)).check_resampled()


@settings(max_examples=15)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=40, unique=True), st.integers(0, 99))
def test_classes_are_no_smoothing(tmp_path_factory, levels, seed):
    mask = blobs(levels, seed=seed)
    found = mask_values(saved(tmp_path_factory.mktemp('masks'), mask))
    found.check_resampled()
    assert list(found.first) == np.unique(mask).tolist() and found.pixels.sum() == mask.size


def test_thin_classes_between_others_are_no_smoothing(tmp_path):
    """Lines of one pixel, of three classes, along the border of two areas."""
    mask = np.zeros((97, 131), np.uint8)
    mask[:, 60:] = 9
    for value, rows in ((3, slice(0, 30)), (5, slice(30, 60)), (7, slice(60, 97))):
        mask[rows, 60] = value
    mask_values(saved(tmp_path, mask)).check_resampled()


def test_one_pixel_high_and_broken_masks(tmp_path):
    masks = saved(tmp_path, np.arange(200, dtype=np.uint8)[None], blobs((0, 1)))
    (tmp_path / '1.png').write_bytes(b'no image')
    found = mask_values(masks)
    assert list(found.broken) == [masks[1]] and len(found.first) == 200
