"""Brightness and contrast of any bands."""
import numpy as np

from mmvision_mamba.datasets.band_distortion import BandDistortion


def test_changes_are_in_units_of_each_band():
    rng = np.random.default_rng(0)
    mean, std = np.float32([5, 2000, -3]), np.float32([1, 400, 0.01])
    image = (rng.standard_normal((20, 30, 3)) * std + mean).astype(np.float32)
    transform = BandDistortion(mean, std, prob=1.)
    np.random.seed(0)
    changed = transform(dict(img=image))['img']
    assert changed.dtype == np.float32 and not np.allclose(changed, image)
    before, after = (image - mean) / std, (changed - mean) / std
    slope = (after[0, 0] - after[5, 5]) / (before[0, 0] - before[5, 5])
    np.testing.assert_allclose(slope, slope[0], rtol=1e-3)
    assert 0.5 <= slope[0] <= 1.5 and abs((after - slope * before).mean()) < 0.8


def test_one_band_may_have_no_axis():
    np.random.seed(1)
    assert BandDistortion([3.], [2.], prob=1.)(dict(img=np.zeros((4, 5), np.float32)))['img'].shape == (4, 5)
    still = np.ones((4, 5, 1), np.float32)
    assert BandDistortion([3.], [2.], prob=0.)(dict(img=still))['img'] is still
