"""Pictures that give their windows one by one."""
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np

from ...datasets.georeference import Georeference
from ...datasets.tiff_windows import TiffWindows, is_tiff, open_tiff
from ...downloads import is_url
from ...errors import DataError
from ...limits import PIXELS
from ..band_images import BandImages
from ..images import from_array, warn_if_dark
from ..sources import Source


@dataclass
class Picture:
    """A picture of any size.

    Args:
        height, width: in pixels.
        read: a window (x, y, width, height) that lies in the picture -> ``(height, width, 3)`` uint8, BGR, or of other
            bands ``(height, width, bands)`` float32.
        georeference: None: the picture is no TIFF.
    """
    height: int
    width: int
    read: Callable[[int, int, int, int], np.ndarray]
    georeference: Georeference | None = None

    def reduced(self, factor: int, chunk: int) -> np.ndarray:
        """The whole picture with its sides divided by a whole factor, rounded up: means of pixels, as `read` has them.

        Beyond its right and lower end its last pixels count once more.

        Args:
            factor: 1 or more.
            chunk: pixels of the windows that it is read by, about.
        """
        if factor == 1 and max(self.height, self.width) <= chunk:
            return self.read(0, 0, self.width, self.height)
        chunk = max(chunk // factor, 1) * factor
        small = None
        for y in range(0, self.height, chunk):
            for x in range(0, self.width, chunk):
                part = self.read(x, y, min(chunk, self.width - x), min(chunk, self.height - y))
                if small is None:
                    small = np.empty((-(-self.height // factor), -(-self.width // factor), part.shape[2]), part.dtype)
                below, right = (-side % factor for side in part.shape[:2])
                part = np.pad(part, ((0, below), (0, right), (0, 0)), mode='edge')
                height, width = (side // factor for side in part.shape[:2])
                place = small[y // factor:y // factor + height, x // factor:x // factor + width]
                # OpenCV takes no more than four bands here.
                place[:] = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA) if part.dtype == np.uint8 \
                    else part.reshape(height, factor, width, factor, -1).mean((1, 3))
        assert small is not None
        return small


class Reduced:
    """Every n-th row and column of a picture, gathered while its windows are read.

    Args:
        picture: which is read through this.
        side: pixels of its longer side that are left, at most. Default: 320.

    Attributes:
        pixels: ``(h, w, bands)``, as `picture` has them; 0 where nothing has been read. None before the first window.
    """

    def __init__(self, picture: Picture, side: int = 320):
        self.picture, self.step = picture, max(1, -(-max(picture.height, picture.width) // side))
        self.pixels: np.ndarray | None = None

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """A window of the picture, as its own `read`."""
        window, step = self.picture.read(x, y, width, height), self.step
        if self.pixels is None:
            self.pixels = np.zeros((-(-self.picture.height // step), -(-self.picture.width // step), window.shape[2]),
                                   window.dtype)
        part, top, left = window[-y % step::step, -x % step::step], -(-y // step), -(-x // step)
        self.pixels[top:top + part.shape[0], left:left + part.shape[1]] = part
        return window


@contextmanager
def open_picture(source: Source, whole: int, bands: BandImages | None = None) -> Iterator[Picture]:
    """The picture of a source: of a TIFF file, windows as they are asked for; any other is decoded as a whole.

    So is a TIFF that `TiffWindows` can't read windows of, if it has no more than `limits.PIXELS`.

    Args:
        source: an image.
        whole: pixels a side up to which a TIFF is decoded as a whole, too, by the decoder of ordinary inference.
        bands: what reads bands. Default: the model takes pictures in colour.

    Raises:
        DataError: it can't be read, or is a video.
        MissingExtraError: a TIFF, without tifffile.
    """
    if source.is_video or source.length is None:
        raise DataError(f'{source.name}: videos and cameras are not read by tiles')
    if not source.folder or is_url(source.name) or not is_tiff(source.name):
        yield _whole(source, None)
        return
    with open_tiff(source.name, bands.loader.bands if bands else None) as tiff:
        if tiff.problem is None and max(tiff.height, tiff.width) > whole:
            with _in_bands(tiff, bands) if bands else _in_colour(tiff) as picture:
                yield picture
            return
        if tiff.problem is not None and (bands or tiff.height * tiff.width > PIXELS.value):
            raise DataError(f'{source.name}: {tiff.problem}')
        georeference, size = tiff.georeference, (tiff.height, tiff.width)
    picture = _whole(source, georeference)
    if (picture.height, picture.width) != size:  # it has been turned
        picture.georeference = Georeference({})
    yield picture


def _whole(source: Source, georeference: Georeference | None) -> Picture:
    image, = source.frames()
    return Picture(*image.shape[:2], lambda x, y, width, height: image[y:y + height, x:x + width], georeference)


@contextmanager
def _in_bands(tiff: TiffWindows, bands: BandImages) -> Iterator[Picture]:
    """The picture of a TIFF whose bands are read; raises DataError where it has others than the model is for."""
    bands.loader.check_tiff(tiff)
    yield Picture(tiff.height, tiff.width, lambda *window: bands.loader.window(tiff, *window), tiff.georeference)


@contextmanager
def _in_colour(tiff: TiffWindows) -> Iterator[Picture]:
    """The picture of a TIFF in grey or RGB; at the end, a warning where it has 16 bits and came out dark."""
    lowest, highest = 2**16, 0

    def read(x: int, y: int, width: int, height: int) -> np.ndarray:
        nonlocal lowest, highest
        window = _to_bgr(tiff.read(x, y, width, height))
        if window.dtype == np.uint16:
            lowest, highest = min(lowest, int(window.min())), max(highest, int(window.max()))
            window = (window >> 8).astype(np.uint8)
        return from_array(window)
    yield Picture(tiff.height, tiff.width, read, tiff.georeference)
    if highest:
        warn_if_dark(tiff.name, lowest, highest)


def _to_bgr(window: np.ndarray) -> np.ndarray:
    """Blue, green and red, or grey, of a window ``(height, width, bands)``."""
    return window[..., :1] if window.shape[2] < 3 else window[..., 2::-1]
