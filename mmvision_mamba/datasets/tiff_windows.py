"""Windows of a TIFF read one by one: only the tiles or strips that a window touches are decoded. Needs tifffile."""
import logging
import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from ..errors import DataError, MissingExtraError, require
from ..files import open_file
from ..limits import PIXELS
from ..printable import shown
from .georeference import TAGS, Georeference, read_georeference
from .image_formats import jpeg_markers, too_wide
from .tiff_directories import number
from .tiff_pages import MOST, band_pages

STARTS = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')  # the last two are BigTIFF
BAND_TYPES = ('uint8', 'uint16', 'int16', 'float32')  # of values that are read as they are
_NODATA, _ORIENTATION = 42113, 274  # tags
_KEPT = 2**27  # bytes of decoded tiles or strips: neighbouring windows share them
_SPARSEST = 100  # times as many pixels as the file has tiles of: the others were left out of it
_GREY, _RGB, _YCBCR = 1, 2, 6  # photometric interpretations
_JPEG = 7
# None, LZW, JPEG, Deflate (two numbers), PackBits, LZMA and Zstandard: a tile takes the memory that the TIFF's header
# says. In others a header of the tile's own decides, which only the decoder reads.
_COMPRESSIONS = (1, 5, _JPEG, 8, 32946, 32773, 34925, 50000)
_FRAMES = {*range(0xc0, 0xd0)} - {0xc4, 0xc8, 0xcc}  # markers of what has a JPEG's size


def no_line_of_nodata(record: logging.LogRecord) -> bool:
    """A filter: tifffile logs each file whose value for no data has another type than the pixels, as GDAL writes it."""
    return 'GDAL_NODATA' not in record.getMessage()


logging.getLogger('tifffile').addFilter(no_line_of_nodata)


def is_tiff(path: str | os.PathLike) -> bool:
    """Whether a regular file begins as a TIFF does; False where it can't be read."""
    try:
        with open_file(path) as file:
            return file.read(4) in STARTS
    except OSError:
        return False


class TiffWindows:
    """The first picture of a TIFF or BigTIFF file, tiled or in strips: grey or RGB, 8 or 16 bits; or some of its bands.

    Args:
        file: open for reading bytes.
        name: of it, for errors; '' where the caller names it.
        numbers: of the bands to read, from 1, of any number of bands and a type in `BAND_TYPES`; pages may be bands,
            see `tiff_pages.band_pages`. Default: the picture is grey or in colour, and all are read.

    Attributes:
        height, width: in pixels.
        georeference: without tags where the file has none.
        bands, dtype: how many there are, and the type of their values, such as 'uint16'.
        nodata: the value that stands for no data, in GDAL's tag. None: the file names none.
        problem: why no windows can be read: it has other colours or values, or no such band, is turned, compressed in
            another way than `_COMPRESSIONS`, or in pieces of more bytes than `limits.PIXELS`. None: they can.

    Raises:
        DataError: it is broken.
        MissingExtraError: tifffile is not installed; raised by `read` where a compression needs imagecodecs.
    """

    def __init__(self, file, name: str, numbers: Sequence[int] | None = None):
        require('reading windows of a TIFF' if numbers is None else 'bands of a TIFF', 'geo', 'tifffile')
        import tifffile
        self.name, self.numbers = name, numbers
        try:
            self._file = tifffile.TiffFile(file, name='picture')  # its own name is a number
            page: Any = self._file.pages[0]
            self._pages = [page] if numbers is None else band_pages(self._file)
            self.georeference: Georeference = read_georeference(
                {tag.code: tag.value for tag in page.tags if tag.code in TAGS})
        except Exception as error:  # tifffile may raise anything for a broken file
            raise self._broken(error) from None
        self._page, self.height, self.width = page, int(page.imagelength), int(page.imagewidth)
        self.bands = len(self._pages) if len(self._pages) > 1 else int(page.samplesperpixel)
        self.dtype, self.nodata = str(page.dtype), _nodata_of(page)
        if page.imagedepth != 1 or self.height < 1 or self.width < 1:
            raise self._broken(ValueError(f'{self.width} × {self.height} pixels in {page.imagedepth} planes'))
        self.problem = self._problem()
        if self.problem is None and not all(map(self._is_whole, self._pages)):
            raise self._broken(ValueError('it is truncated'))
        self._stored = None if page.dtype is None else page.dtype.newbyteorder(self._file.byteorder)
        self._decoded: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()  # by page and tile or strip
        self._kept = 0  # bytes of these

    def _problem(self) -> str | None:
        turned = self._page.tags.get(_ORIENTATION)
        if problem := self._problem_of_values():
            return problem
        if turned is not None and turned.value != 1:
            return f'its tag Orientation, {int(turned.value)}, says that it is turned: save it upright'
        for page in self._pages:
            if page.compression not in _COMPRESSIONS:
                return (f'it is compressed by {getattr(page.compression, "name", page.compression)}, and windows of '
                        'LZW, Deflate, Zstandard, JPEG and the like are read: save it so')
            rows, columns, *_ = self._layout(page)
            size = rows * columns * (page.samplesperpixel if page.planarconfig == 1 else 1) * page.dtype.itemsize
            if not _is_plain(page) and size > PIXELS.value:
                return (f'its pixels are compressed in pieces of {size} bytes, and {PIXELS.value} are allowed '
                        f'({PIXELS.way_out}): save it in tiles')
        return None

    def _problem_of_values(self) -> str | None:
        page, kind = self._page, int(self._page.photometric)
        if self.numbers is None:
            if page.dtype not in (np.uint8, np.uint16) or page.bitspersample not in (8, 16):
                return too_wide(f'{page.dtype}, {page.bitspersample} bits')
        elif self.dtype not in BAND_TYPES or page.bitspersample != 8 * page.dtype.itemsize:
            return (f'its values are {page.dtype}, {page.bitspersample} bits, and bands of {", ".join(BAND_TYPES)} are '
                    'read: save it so')
        if kind not in (_GREY, _RGB) and not (kind == _YCBCR and page.compression == _JPEG):
            return (f'its colours are {getattr(page.photometric, "name", kind)}, and windows of grey or RGB are read: '
                    'convert it')
        if self.numbers is None:
            return None if self.bands in ((1, 2) if kind == _GREY else (3, 4)) else \
                f'it has {self.bands} bands, and 3 are read: save those of red, green and blue, or see ' \
                'custom_data.bands'
        if max(self.numbers) <= self.bands:
            return None
        if self.bands == 1 and self._has_pages():
            return (f'it has pages, which are bands where they are 2 to {MOST}, of one band each, alike in size and '
                    'type and along one axis: save all bands in one page, with tifffile by '
                    "photometric='minisblack', planarconfig='separate'")
        return no_such_band(max(self.numbers), self.bands)

    def _has_pages(self) -> bool:
        try:
            return self._file.pages[1] is not None
        except Exception:  # there is none, or it is broken
            return False

    def _is_whole(self, page) -> bool:
        """Whether the file is long enough for a page's pixels: a header alone can announce any number of them."""
        ends = np.add(page.dataoffsets, page.databytecounts)
        rows, columns, down, across = self._layout(page)
        pieces = down * across * (page.samplesperpixel if page.planarconfig != 1 else 1)
        if not _is_plain(page):
            there = np.count_nonzero(page.databytecounts) * rows * columns
            if self.height * self.width > _SPARSEST * there:
                return False
        stored = int(np.sum(page.databytecounts)) if _is_plain(page) else None
        return len(ends) >= (1 if _is_plain(page) else pieces) and ends.max() <= self._file.filehandle.size and (
            stored is None or stored >= self.height * self.width * page.samplesperpixel * page.dtype.itemsize)

    def _layout(self, page) -> tuple[int, int, int, int]:
        """(rows, columns) of a page's tile or strip, and how many there are down and across."""
        rows, columns = page.chunks[-2:] if page.planarconfig != 1 else page.chunks[:2]
        return rows, columns, -(-self.height // rows), -(-self.width // columns)

    def read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """A window that lies in the picture -> ``(height, width, samples)``, as its values are stored.

        Raises:
            DataError: this part of the file is broken.
        """
        try:
            if len(self._pages) == 1:
                return self._window(self._page, self._read, x, y, width, height)
            return np.concatenate([self._window(self._pages[i], [0], x, y, width, height) for i in self._read], 2)
        except (DataError, MissingExtraError, MemoryError):
            raise
        except Exception as error:
            if 'imagecodecs' in str(error):
                raise MissingExtraError(f'a TIFF with the compression {self._page.compression.name}', 'geo') from None
            raise self._broken(error) from None

    @property
    def _read(self) -> list[int]:
        """The samples that are read, counted from 0."""
        return list(range(self.bands)) if self.numbers is None else [number - 1 for number in self.numbers]

    def _window(self, page, chosen: list[int], x: int, y: int, width: int, height: int) -> np.ndarray:
        """A window of some of a page's samples."""
        return (self._rows if _is_plain(page) else self._pieces)(page, chosen, x, y, width, height)

    def _rows(self, page, chosen: list[int], x: int, y: int, width: int, height: int) -> np.ndarray:
        samples, size, stored = page.samplesperpixel, self._stored.itemsize, self._stored
        window = np.empty((height, width, len(chosen)), stored.newbyteorder('='))
        for row in range(height):
            self._file.filehandle.seek(page.dataoffsets[0] + ((y + row) * self.width + x) * samples * size)
            content = self._file.filehandle.read(width * samples * size)
            window[row] = np.frombuffer(content, stored).reshape(width, samples)[:, chosen]
        return window

    def _pieces(self, page, chosen: list[int], x: int, y: int, width: int, height: int) -> np.ndarray:
        apart = page.planarconfig != 1
        rows, columns, down, across = self._layout(page)
        # What is left out of a file has no data.
        empty = 0 if self.numbers is None or self.nodata is None else self.nodata
        window = np.full((height, width, len(chosen)), empty, page.dtype)
        for at, plane in enumerate(chosen if apart else [0]):
            for i in range(y // rows, -(-(y + height) // rows)):
                for j in range(x // columns, -(-(x + width) // columns)):
                    piece = self._piece(page, (plane * down + i) * across + j)
                    if piece is None:
                        continue
                    top, left = max(i * rows, y), max(j * columns, x)
                    part = piece[top - i * rows:y + height - i * rows, left - j * columns:x + width - j * columns]
                    place = window[top - y:top - y + part.shape[0], left - x:left - x + part.shape[1]]
                    part = part[:place.shape[0]]
                    place[..., slice(at, at + 1) if apart else slice(None)] = part if apart else part[..., chosen]
        return window

    def _piece(self, page, index: int) -> np.ndarray | None:
        """A tile or strip, decoded: ``(rows, columns, samples)``; None where the file has no bytes of it."""
        key = page.index, index
        if key in self._decoded:
            self._decoded.move_to_end(key)
            return self._decoded[key]
        size = page.databytecounts[index]
        if not size:
            return None
        self._file.filehandle.seek(page.dataoffsets[index])
        content = self._file.filehandle.read(size)  # before `page.decode`, which may read elsewhere when it is made
        if page.compression == _JPEG:
            self._check_jpeg(page, content)
        decoded, _, shape = page.decode(content, index, jpegtables=page.jpegtables)
        piece = decoded.reshape(decoded.shape[-3:])[:shape[1], :shape[2]]
        self._decoded[key] = piece
        self._kept += piece.nbytes
        while len(self._decoded) > 1 and self._kept > _KEPT:
            self._kept -= self._decoded.popitem(last=False)[1].nbytes
        return piece

    def _check_jpeg(self, page, content: bytes) -> None:
        """Raise ValueError for a tile or strip that says that it is larger than the TIFF's are."""
        rows, columns, *_ = self._layout(page)
        with suppress(IndexError):  # tables end before a scan
            if any(marker in _FRAMES for marker, _ in jpeg_markers(page.jpegtables or b'')):
                raise ValueError('its JPEG tables are a picture')
        sizes = [(number(content, at + 3, 2), number(content, at + 5, 2)) for marker, at in jpeg_markers(content)
                 if marker in _FRAMES]
        if len(sizes) != 1 or sizes[0][0] > rows or sizes[0][1] > columns:
            raise ValueError(f'a tile of {columns} × {rows} pixels is another JPEG')

    def _broken(self, error: Exception) -> DataError:
        place = f'{self.name}: ' if self.name else ''
        return DataError(f'{place}the TIFF is damaged ({shown(error, 200) or type(error).__name__})')


def _is_plain(page) -> bool:
    """Whether a page's pixels lie in the file as in an array, row after row."""
    return page.is_contiguous and page.planarconfig == 1 and page.compression == 1 and page.fillorder == 1


def no_such_band(number: int, bands: int) -> str:
    """What is said of a file that has fewer bands than one of the numbers."""
    return f'it has {bands} band{"s" * (bands != 1)}, and band {number} is to be read: name others in custom_data.bands'


def _nodata_of(page) -> float | None:
    """The value in GDAL's tag of a page, one of those that its type has; None: there is none, or it is no value."""
    tag = page.tags.get(_NODATA)
    with suppress(AttributeError, ValueError, OverflowError, TypeError), np.errstate(over='ignore'):
        value = float(tag.value)
        if page.dtype.kind == 'f':
            return float(page.dtype.type(value))
        limits = np.iinfo(page.dtype)
        return value if value == int(value) and limits.min <= value <= limits.max else None
    return None


@contextmanager
def open_tiff(path: str | os.PathLike, numbers: Sequence[int] | None = None) -> Iterator[TiffWindows]:
    """The windows of a regular file, of all its bands or those of some numbers; see `TiffWindows`.

    Raises:
        DataError: it can't be opened; see `TiffWindows`.
    """
    try:
        file = open_file(path)
    except OSError as error:
        raise DataError(f'{path}: can not be read ({error.strerror or error})') from None
    with file:
        yield TiffWindows(file, str(path), numbers)


def as_bgr(window: np.ndarray) -> np.ndarray:
    """A window ``(height, width, 1 to 4)`` of grey or RGB, as stored -> uint8 ``(height, width, 3)``, BGR.

    Of 16 bits the upper 8 are kept, as OpenCV keeps them of a whole image.
    """
    window = window[..., [0, 0, 0] if window.shape[2] < 3 else [2, 1, 0]]
    return (window >> 8).astype(np.uint8) if window.dtype == np.uint16 else window
