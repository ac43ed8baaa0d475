"""Statistics of bands: those of all values at once, whatever the parts they come in."""
import numpy as np

from mmvision_mamba.datasets import band_statistics
from mmvision_mamba.datasets.band_statistics import BandStatistics


def test_parts_give_what_all_values_give(monkeypatch):
    monkeypatch.setattr(band_statistics, '_CHUNK', 100)
    rng = np.random.default_rng(0)
    images = [rng.normal(1e6, 3, (9 + i, 11, 3)) * [1, 2, 0] for i in range(4)]  # sums of squares would lose digits
    images[1][2, 3, 0] = np.nan
    images[2][4, 5] = -9999
    found = BandStatistics(3)
    for image in images:
        found.add(image, -9999)
    values = np.concatenate([image.reshape(-1, 3) for image in images])
    values[(values == -9999) | ~np.isfinite(values)] = np.nan
    np.testing.assert_allclose(found.mean, np.nanmean(values, 0), rtol=1e-12)
    np.testing.assert_allclose(found.std, np.nanstd(values, 0), rtol=1e-9, atol=1e-12)
    assert np.array_equal(found.low, np.nanmin(values, 0)) and np.array_equal(found.high, np.nanmax(values, 0))
    assert found.absent.tolist() == [2, 1, 1] and found.count.tolist() == np.isfinite(values).sum(0).tolist()


def test_whole_numbers_and_bands_without_values():
    found = BandStatistics(2)
    found.add(np.dstack([np.full((4, 4), 7, np.uint16), np.full((4, 4), 9, np.uint16)]), 9)
    assert (found.mean[0], found.std[0], found.count.tolist(), found.absent_share) == (7, 0, [16, 0], 0.5)
