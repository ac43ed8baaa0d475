"""Images for models of any number of bands: files, and arrays that have these bands."""
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from ..datasets.band_loading import LoadImageFromFile
from ..datasets.bands import filled
from ..datasets.image_loader import image_loader
from ..datasets.tiff_windows import BAND_TYPES, no_such_band
from ..errors import DataError
from .images import content_of, read_image


class BandImages:
    """Reads images as a config's loader of bands does.

    Args:
        loader: of the test pipeline.
    """

    def __init__(self, loader: LoadImageFromFile):
        self.loader = loader

    def read(self, image: Any) -> np.ndarray:
        """One image -> float32 ``(H, W, n)``, the bands that the model takes, as its values are.

        Args:
            image: a path or URL, or a Pillow image, of which the bands are taken by their numbers; or an array ``(H, W,
                n)`` of just these bands, in the order of the config, ``(H, W)`` of a single one.

        Raises:
            DataError: it can't be read, has other bands, or values of another type than files have.
        """
        if isinstance(image, str | os.PathLike):
            read, problem = self.loader.decode(content_of(image))
            if read is None:
                raise DataError(f'{image}: {problem}')
            return read
        if isinstance(image, Image.Image):
            plain = image.mode not in ('P', '1', 'CMYK', 'YCbCr', 'LAB', 'HSV')
            values = np.asarray(image if plain else image.convert('RGB'))
            values = values[..., None] if values.ndim == 2 else values
            if max(self.loader.bands) > values.shape[2]:
                raise DataError(f'a Pillow image: {no_such_band(max(self.loader.bands), values.shape[2])}')
            return self._of_array(values[..., [number - 1 for number in self.loader.bands]])
        if isinstance(image, np.ndarray):
            return self._of_array(image)
        raise DataError(f'an image is a path, URL, NumPy array or Pillow image, not {type(image)}')

    def _of_array(self, values: np.ndarray) -> np.ndarray:
        numbers = self.loader.bands
        if values.ndim == 2 and len(numbers) == 1:
            values = values[..., None]
        if values.ndim != 3 or values.shape[2] != len(numbers) or not values.size:
            raise DataError(f'an image array must be (H, W, {len(numbers)}), the bands '
                            f'{", ".join(map(str, numbers))} of a file in this order, got {values.shape}')
        if values.dtype.name not in (*BAND_TYPES, 'float64'):
            raise DataError(f'an image array must be {", ".join(BAND_TYPES)} or float64, got {values.dtype}')
        return filled(values, None, self.loader.fill)

    def picture(self, image: np.ndarray) -> np.ndarray:
        """The bands of an image that are shown, stretched: uint8 ``(H, W, 3)``, BGR."""
        return self.loader.picture(image)


def picture_reader(dataset: dict) -> Callable[[str], np.ndarray]:
    """What reads the images of a data set's config to be looked at: uint8 ``(H, W, 3)``, BGR."""
    loader = image_loader(dataset)
    if not isinstance(loader, LoadImageFromFile):
        return read_image
    bands = BandImages(loader)
    return lambda path: bands.picture(bands.read(path))
