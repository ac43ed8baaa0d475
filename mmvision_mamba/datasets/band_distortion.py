"""Random brightness and contrast for images of any number of bands and any values."""
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform


class BandDistortion(BaseTransform):
    """Changes brightness and contrast at random, of all bands alike: what is left of mmdet's and mmseg's
    `PhotoMetricDistortion`, whose hue and saturation are of three colours.

    Changes `img`, ``(H, W, n)`` or ``(H, W)`` floats. Brightness is in units of each band's deviation, contrast turns
    around its mean: both mean the same for reflectances, 16-bit counts and radar.

    Args:
        mean, std: of each band.
        brightness: largest change, in deviations. Default: 0.5, about what the toolboxes' 32 of 255 is.
        contrast: least and largest factor. Default: (0.5, 1.5), as in the toolboxes.
        prob: of each of the two changes. Default: 0.5.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], brightness: float = 0.5,
                 contrast: Sequence[float] = (0.5, 1.5), prob: float = 0.5):
        self.mean, self.std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        self.brightness, self.contrast, self.prob = brightness, tuple(contrast), prob

    def transform(self, results: dict) -> dict:
        image = results['img']
        mean, std = (self.mean, self.std) if image.ndim == 3 else (self.mean[0], self.std[0])
        if np.random.rand() < self.prob:
            image = image + np.float32(np.random.uniform(-self.brightness, self.brightness)) * std
        if np.random.rand() < self.prob:
            image = (image - mean) * np.float32(np.random.uniform(*self.contrast)) + mean
        results['img'] = image
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(brightness={self.brightness}, contrast={self.contrast}, prob={self.prob})'
