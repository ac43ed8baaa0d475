"""Bands of an image file, as they are stored: any number of them, of 8 or 16 bits or floats.

They are numbered from 1 in the order of the file, as GDAL, rasterio and QGIS number them; red, green and blue of a
picture in colour are 1, 2 and 3.
"""
import io
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import ConfigError, DataError
from ..printable import shown
from .image_formats import read_header
from .loading import decoded
from .tiff_windows import BAND_TYPES, TiffWindows, no_such_band

MOST = 16  # bands that a model takes


class Kind(NamedTuple):
    """What the files of one data set have in common: their number of bands, and the type of a value."""
    bands: int
    dtype: str

    def __str__(self) -> str:
        return f'{self.bands} band{"s" * (self.bands != 1)} of {self.dtype}'


def checked_numbers(bands: Any, where: str) -> tuple[int, ...]:
    """Numbers of bands that a config gives, as a tuple.

    Args:
        bands: from 1 up, up to `MOST` of them.
        where: their place in the config, for errors.

    Raises:
        ConfigError: they are none.
    """
    numbers = [bands] if isinstance(bands, int) else bands
    if not isinstance(numbers, list | tuple) or not 0 < len(numbers) <= MOST or not all(
            isinstance(number, int) and not isinstance(number, bool) and 0 < number < 2**16 for number in numbers):
        raise ConfigError(f'{where} is {shown(bands, 100)}: expected numbers of bands, counted from 1, at most {MOST} '
                          'of them, such as [4,3,2]')
    return tuple(numbers)


def read_bands(content: bytes, numbers: Sequence[int]) -> tuple[np.ndarray, float | None, Kind]:
    """Some bands of an image file's content.

    Args:
        content: of a TIFF, or of a file in any other format that is read.
        numbers: of the bands, in the order wanted.

    Returns:
        values as stored, ``(H, W, len(numbers))``; the one that stands for no data, None where there is none; what the
        file has.

    Raises:
        DataError: it can't be read, lacks a band, or has values of another type than `BAND_TYPES`; without the file's
            name.
        MissingExtraError: a TIFF, without tifffile, or one of a compression that needs imagecodecs.
    """
    known, header = read_header(content)
    if known.name == 'TIFF':
        tiff = TiffWindows(io.BytesIO(content), '', numbers)
        if tiff.problem:
            raise DataError(tiff.problem)
        return tiff.read(0, 0, tiff.width, tiff.height), tiff.nodata, Kind(tiff.bands, tiff.dtype)
    if known.name == 'JPEG' and header.depth == 4:
        raise DataError('its colours are CMYK, of which decoders make others: save it in RGB, or as a TIFF')
    image = decoded(content, 'color' if known.name == 'GIF' else 'unchanged')  # a palette, even of grey or of 1 bit
    image = image[..., None] if image.ndim == 2 else image
    if known.name == 'PNG' and content[25] == 4:  # grey and alpha, of which OpenCV has the grey thrice
        image = image[..., [0, 3]]
    kind = Kind(image.shape[2], image.dtype.name)
    if kind.dtype not in BAND_TYPES:
        raise DataError(f'its values are {kind.dtype}, and bands of {", ".join(BAND_TYPES)} are read: save it so')
    if max(numbers) > kind.bands:
        raise DataError(no_such_band(max(numbers), kind.bands))
    if kind.bands > 2:  # OpenCV has blue first
        image = image[..., [2, 1, 0, 3][:kind.bands]]
    return image[..., [number - 1 for number in numbers]], None, kind


def missing(values: np.ndarray, nodata: float | None) -> np.ndarray | None:
    """Where values, of any shape, are NaN, infinite or what stands for no data; None: nowhere, by their type."""
    found = ~np.isfinite(values) if values.dtype.kind == 'f' else None
    if nodata is None or not np.isfinite(nodata):
        return found
    absent = values == values.dtype.type(nodata)
    return absent if found is None else found | absent


def filled(values: np.ndarray, nodata: float | None, fill: Sequence[float] | None) -> np.ndarray:
    """Values ``(H, W, n)`` as float32, which holds those of `BAND_TYPES` exactly.

    Args:
        values: as stored.
        nodata: what stands for no data. None: nothing does.
        fill: of each band, what takes the place of missing values. None: 0.
    """
    out = values.astype(np.float32)
    if (absent := missing(values, nodata)) is not None and absent.any():
        out = np.where(absent, np.float32(0) if fill is None else np.asarray(fill, np.float32), out)
    return out


def as_picture(image: np.ndarray, positions: Sequence[int] | None = None) -> np.ndarray:
    """Three bands of an image as a picture, each stretched from its 2nd to its 98th percentile.

    Args:
        image: ``(H, W, n)``, numbers of any kind.
        positions: of the bands that are red, green and blue. Default: the first three; of fewer, the first thrice.

    Returns:
        uint8 ``(H, W, 3)``, RGB.
    """
    positions = positions or ((0, 1, 2) if image.shape[2] > 2 else (0, 0, 0))
    picture = np.empty((*image.shape[:2], 3), np.uint8)
    for channel, position in enumerate(positions):
        band = image[..., position].astype(np.float32)
        step = max(1, int((band.size / 2**20) ** 0.5))  # of a large picture, the percentiles of a grid of a million
        sample = band[::step, ::step]
        sample = sample[np.isfinite(sample)]
        low, high = np.percentile(sample, (2, 98)) if sample.size else (0, 1)
        scaled = (np.nan_to_num(band, nan=low) - low) / (high - low if high > low else 1)
        picture[..., channel] = (scaled.clip(0, 1) * 255).round()
    return picture
