"""Loads bands of images, as float32, for models of any number of them."""
import os
from collections.abc import Sequence

import numpy as np

from ..errors import ConfigError, DataError
from .bands import Kind, as_picture, checked_numbers, filled, read_bands
from .loading import CheckedLoadImageFromFile
from .tiff_windows import TiffWindows, is_tiff, open_tiff


class LoadImageFromFile(CheckedLoadImageFromFile):
    """Loads some bands of an image file, as they are: `img` is float32 ``(H, W, number of bands)``.

    It stands in a pipeline where mmcv's transform of this name would, and its errors name the file.

    Args:
        bands: their numbers, from 1, in the order in which the model takes them.
        fill: of each of these, what takes the place of NaN, of infinite values and of those that GDAL's tag says stand
            for no data: the band's mean. Default: 0.
        shown: the numbers of those that pictures have as red, green and blue. Default: the first three; of fewer, the
            first.
        file_bands: how many bands a file must have. Default: any number.
        dtype: the type that its values must have, such as 'uint16'. Default: any.
        ignore_empty, backend_args: as in mmcv's.

    Raises:
        ConfigError: `bands` or `shown` are no such numbers.
        DataError: as the base class; or a file of other bands or another type than expected.
    """

    def __init__(self, bands: Sequence[int], fill: Sequence[float] | None = None, shown: Sequence[int] | None = None,
                 file_bands: int | None = None, dtype: str | None = None, ignore_empty: bool = False,
                 backend_args: dict | None = None):
        super().__init__(color_type='unchanged', ignore_empty=ignore_empty, backend_args=backend_args)
        self.bands, self.fill = checked_numbers(bands, 'LoadImageFromFile.bands'), fill
        self.positions = positions_of(self.bands, shown, 'LoadImageFromFile.shown')
        self.file_bands, self.dtype = file_bands, dtype

    def problem(self, content: bytes, quick: bool = True) -> str | None:
        return None  # decoding finds all

    def decode(self, content: bytes, flag: str | None = None) -> tuple[np.ndarray | None, str | None]:
        try:
            values, nodata, kind = read_bands(content, self.bands)
            self.check(kind)
            return filled(values, nodata, self.fill), None
        except MemoryError:
            return None, 'there is too little memory for its bands'
        except DataError as error:
            return None, str(error)

    def check(self, kind: Kind) -> None:
        """Raise DataError, without the file's name, for a file that is of another kind than those trained on."""
        expected = Kind(self.file_bands or kind.bands, self.dtype or kind.dtype)
        if kind != expected:
            raise DataError(f'it has {kind}, and the other images have {expected}')

    def read(self, path: str | os.PathLike) -> np.ndarray | None:
        """The image in a file, as the pipeline has it; DataError names a broken one; None: `ignore_empty`."""
        results = self.transform(dict(img_path=os.fspath(path)))
        return None if results is None else results['img']

    def check_tiff(self, tiff: TiffWindows) -> None:
        """Raise DataError, with the file's name, for a TIFF that is of another kind than those trained on."""
        try:
            self.check(Kind(tiff.bands, tiff.dtype))
        except DataError as error:
            raise DataError(f'{tiff.name}: {error}') from None

    def window(self, tiff: TiffWindows, x: int, y: int, width: int, height: int) -> np.ndarray:
        """A window of a TIFF that was opened with `bands`, as the pipeline would have it: ``(height, width, n)``."""
        return filled(tiff.read(x, y, width, height), tiff.nodata, self.fill)

    def load_window(self, path: str, window: tuple[int, int, int, int], shape: tuple[int, int]) -> np.ndarray | None:
        """A window (x, y, width, height) of a TIFF, as the whole image of `shape` (H, W) has it; None: load that."""
        if self.backend_args or not is_tiff(path):
            return None
        with open_tiff(path, self.bands) as tiff:
            expected = self.file_bands or tiff.bands, self.dtype or tiff.dtype
            if tiff.problem or (tiff.height, tiff.width) != shape or (tiff.bands, tiff.dtype) != expected:
                return None  # the error of the whole image says it
            return self.window(tiff, *window)

    def picture(self, image: np.ndarray) -> np.ndarray:
        """The bands that are shown, stretched, of an image as it was loaded: uint8 ``(H, W, 3)``, **BGR**."""
        return np.ascontiguousarray(as_picture(image, self.positions)[..., ::-1])


def positions_of(bands: Sequence[int], shown: Sequence[int] | None, where: str) -> list[int] | None:
    """Where the bands that are shown lie among those that are read.

    Args:
        bands, shown: as in `LoadImageFromFile`.
        where: the place of `shown` in the config, for errors.

    Raises:
        ConfigError: they are neither one nor three, or not all among `bands`.
    """
    if shown is None:
        return None
    numbers = checked_numbers(shown, where)
    if len(numbers) not in (1, 3) or not set(numbers) <= set(bands):
        raise ConfigError(f'{where} is {list(numbers)}: expected three of the bands {list(bands)}, for red, green and '
                          'blue, or one')
    return [list(bands).index(number) for number in numbers * (3 // len(numbers))]
