import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from mmvision_mamba.errors import DataError
from mmvision_mamba.inference.tiled.instances import Instance, Mask

PIXELS = arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@given(pixels=PIXELS, x=st.integers(0, 5), y=st.integers(0, 5), right=st.integers(0, 5), below=st.integers(0, 5))
def test_a_mask_in_its_picture_is_what_pycocotools_makes_of_all_pixels(pixels, x, y, right, below):
    whole = np.zeros((y + len(pixels) + below, x + pixels.shape[1] + right), bool)
    whole[y:y + len(pixels), x:x + pixels.shape[1]] = pixels
    expected = coco_mask.encode(np.asfortranarray(whole, np.uint8))
    assert Mask.of(pixels, x, y).in_picture(*whole.shape) == dict(size=list(whole.shape),
                                                                  counts=expected['counts'].decode())


@given(pixels=PIXELS, x=st.integers(0, 5), y=st.integers(0, 5))
def test_a_mask_is_cropped(pixels, x, y):
    mask = Mask.of(pixels, x, y)
    assert mask.pixels().sum() == pixels.sum()
    if pixels.any():
        rows, columns = np.nonzero(pixels)
        assert (mask.x, mask.y) == (x + columns.min(), y + rows.min())
        assert mask.pixels().shape == (np.ptp(rows) + 1, np.ptp(columns) + 1)


def test_a_mask_of_a_huge_picture_is_encoded_without_it():
    code = Mask.of(np.ones((2, 3), bool), 60_000, 50_000).in_picture(65_000, 65_000)
    assert len(code['counts']) < 60 and coco_mask.area(dict(code, counts=code['counts'].encode())) == 6
    with pytest.raises(DataError, match='COCO'):
        Mask.of(np.ones((2, 3), bool)).in_picture(65_536, 65_536)


@pytest.mark.parametrize('mask', [None, Mask.of(np.eye(4, dtype=bool), 3, 5)])
def test_an_instance_survives_json(mask):
    instance = Instance(2, 0.1 + 0.2, (1.1, 2.2, 3.3, 4.4), (0, 0, 64, 64), mask, None, 3)
    assert Instance.from_json(json.loads(json.dumps(instance.to_json()))) == instance
