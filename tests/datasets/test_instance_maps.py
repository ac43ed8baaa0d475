"""Maps of objects as run lengths: each object's pixels, whatever shape they have."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask

from mmvision_mamba.datasets import instance_maps
from mmvision_mamba.datasets.coco_masks import decoded_columns, rle_problem
from mmvision_mamba.datasets.instance_maps import instances_of
from mmvision_mamba.errors import DataError

SHAPES = array_shapes(min_dims=2, max_dims=2, max_side=9)


@given(numbers=SHAPES.flatmap(lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 2, 200]))),
       label=st.integers(0, 255), strip=st.integers(1, 40))
def test_each_objects_pixels(numbers, label, strip):
    labels = np.full(numbers.shape, label, np.uint8)
    labels[0] = 7
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance_maps, '_STRIP', strip)
        found = list(instances_of(numbers, labels))
    assert [instance.number for instance in found] == sorted(set(numbers.ravel().tolist()) - {0})
    for instance in found:
        pixels = numbers == instance.number
        np.testing.assert_array_equal(mask.decode(instance.mask), pixels)
        assert rle_problem(instance.mask, *numbers.shape[::-1]) is None
        assert instance.area == pixels.sum() == sum(instance.labels.values())
        assert instance.labels == {value: int((pixels & (labels == value)).sum())
                                   for value in set(labels[pixels].tolist())}
        x, y, w, h = map(int, instance.box)
        assert pixels[y:y + h, x:x + w].sum() == pixels.sum()
        np.testing.assert_array_equal(decoded_columns(instance.mask, x, w), pixels[:, x:x + w])


def test_more_than_is_allowed(monkeypatch):
    numbers = np.arange(64, dtype=np.uint16).reshape(8, 8)
    labels = np.zeros((8, 8), np.uint8)
    assert len(list(instances_of(numbers, labels))) == 63
    monkeypatch.setenv('MMVISION_MAMBA_MAX_OBJECTS', '62')
    with pytest.raises(DataError, match='it has 63 objects, and 62 are allowed'):
        list(instances_of(numbers, labels))
    monkeypatch.setenv('MMVISION_MAMBA_MAX_OUTLINE', '20')
    with pytest.raises(DataError, match='more than 20 runs'):
        list(instances_of(numbers, labels))
