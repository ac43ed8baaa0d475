"""Padding of any number of bands, beside the toolboxes' own of up to four."""
import numpy as np
import pytest
from mmengine.registry import TRANSFORMS, DefaultScope

from mmvision_mamba.datasets.band_padding import Pad

RNG = np.random.default_rng(0)


def results(image):
    return dict(img=image, img_shape=image.shape[:2], gt_seg_map=np.ones(image.shape[:2], np.uint8),
                seg_fields=['gt_seg_map'])


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
@pytest.mark.parametrize('settings', [
    dict(size_divisor=32), dict(size=(99, 70), pad_val=dict(img=7, seg=9)), dict(size_divisor=20, pad_to_square=True),
    dict(size_divisor=16, padding_mode='reflect'), dict(size_divisor=16, padding_mode='edge')], ids=str)
def test_up_to_four_bands_are_padded_as_by_the_toolbox(scope, settings):
    image = RNG.random((40, 53, 4), np.float32)
    with DefaultScope.overwrite_default_scope(scope):
        expected = TRANSFORMS.build(dict(type='Pad', **settings))(results(image))
        found = Pad(**settings)(results(image))
    assert expected.keys() == found.keys()
    for key in ('img', 'gt_seg_map', 'img_shape', 'pad_shape'):
        assert np.array_equal(expected[key][:2] if key == 'pad_shape' else expected[key],
                              found[key][:2] if key == 'pad_shape' else found[key]), key


def test_each_of_twelve_has_its_own_value():
    image, mean = RNG.random((40, 53, 12), np.float32), list(range(12))
    with DefaultScope.overwrite_default_scope('mmseg'):
        found = Pad(size_divisor=32, pad_val=dict(img=mean, seg=255))(results(image))
        one = Pad(size_divisor=32, pad_val=dict(img=[3.], seg=255))(results(image[..., 0]))
    assert np.array_equal(found['img'][:40, :53], image) and (found['img'][40:] == mean).all()
    assert found['img'].shape == (64, 64, 12) and (found['gt_seg_map'][:, 53:] == 255).all()
    assert one['img'].shape == (64, 64) and (one['img'][40:] == 3).all()
