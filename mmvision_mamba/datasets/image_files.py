"""Checks of image files and segmentation maps: whole, decodable, of the right size and labels."""
import errno
import functools
import io
import logging
import os
import re
import unicodedata
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from ..downloads import fetch
from ..errors import DataError
from ..files import open_file, read_bytes
from ..limits import IMAGE_BYTES, IMAGE_SECONDS, PIXELS
from .image_formats import FORMATS, PNG, Format, Header, jpeg_markers, png_chunks, read_header
from .tiff_directories import check_directories


def _no_line_of_bands(record: logging.LogRecord) -> bool:
    """A filter: Pillow logs each TIFF with more bands than it knows, which tifffile is asked about next."""
    return 'samples per pixel' not in record.getMessage()


logging.getLogger('PIL.TiffImagePlugin').addFilter(_no_line_of_bands)


def missing(path: str | os.PathLike) -> str:
    """What is said of a file that isn't there, and that one is whose name only looks the same: archives made on a Mac
    hold names in Unicode's form NFD, annotations mostly in NFC."""
    folder, name = os.path.split(os.fspath(path))
    alike = not name.isascii() and unicodedata.normalize('NFC', name) in _names(folder or '.')
    return 'the file is missing' + LOOKS_THE_SAME * alike


LOOKS_THE_SAME = ('; one lies there whose name looks the same in other Unicode characters (NFC and NFD): rename it, as '
                  'with `convmv -f utf8 -t utf8 --nfc`, or name it so in the annotations')


@functools.lru_cache(maxsize=2)
def _names(folder: str) -> frozenset[str]:
    """Names of a folder's files outside of ASCII, in Unicode's form NFC; read once, though thousands may be missing."""
    try:
        return frozenset(unicodedata.normalize('NFC', name) for name in os.listdir(folder) if not name.isascii())
    except OSError:
        return frozenset()


def image_problem(source: str | os.PathLike | bytes, quick: bool = True) -> str | None:
    """Check an image file.

    Some OpenCV versions fill the missing part of a truncated JPEG with grey and say nothing, so decoding alone does not
    tell. A JPEG or PNG whose structure is complete passes without being decoded; any other file, and with
    `quick=False` every file, is decoded once.

    Args:
        source: path (anything `mmengine.fileio.get` reads) or the file's content.
        quick: trust the structure of JPEG and PNG files; False also finds damage inside a complete file. Default: True.

    Returns:
        A short phrase such as 'the image is truncated', or None for a good image.
    """
    if not isinstance(source, bytes | bytearray | memoryview):
        try:
            source = file_content(os.fspath(source))
        except FileNotFoundError:
            return missing(source)
        except OSError as e:
            return f'the file cannot be read ({e.strerror or e})'
    content = bytes(source)
    try:
        known, header = read_header(content)
    except DataError as e:
        return str(e)
    if quick and (known.name == 'PNG' or (known.name == 'JPEG' and _jpeg_is_complete(content))):
        return None
    if known.name == 'PNG' and not _checksums_are_right(content):
        return 'the image is damaged'
    return _decoding_problem(content, known, header)


def file_content(path: str, backend_args: dict | None = None) -> bytes:
    """The content of an image's file: a regular one on the local file system, or any that `mmengine.fileio.get` reads.

    Raises:
        OSError: it can't be read; of storage other than the local file system, whatever its client raises.
    """
    scheme = re.match(r'[\w+.-]+://', path)  # 'folder/http://…' is a path
    if not scheme and (backend_args or {}).get('backend', 'local') == 'local':
        return read_bytes(path, IMAGE_BYTES.value)
    if path.lower().startswith(('http://', 'https://')) and (backend_args or {}).get('backend', 'http') == 'http':
        return fetch(path, IMAGE_BYTES.value, IMAGE_SECONDS.value)
    from mmengine import fileio  # whose import registers the transforms, which need this module
    try:
        return fileio.get(path, backend_args=backend_args)
    except KeyError:
        raise OSError(errno.EINVAL, 'mmengine knows no storage of this kind', path) from None


def _jpeg_is_complete(content: bytes) -> bool:
    """Whether the end marker comes last (zeros may follow) and belongs to the image itself.

    The thumbnail in an EXIF header has an end marker too: it counts only past the image's own start of scan.
    """
    *_, (_, scan) = jpeg_markers(content)
    end = content.rstrip(b'\0')
    return end.endswith(b'\xff\xd9') and len(end) > scan + 2


def _checksums_are_right(content: bytes) -> bool:
    """Whether the chunks of a PNG are as they were written, but for those that decoders may ignore."""
    view = memoryview(content)
    return all(zlib.crc32(view[at - 4:at + length]) == int.from_bytes(view[at + length:at + length + 4], 'big')
               for kind, at, length in png_chunks(content) if kind[:1].isupper())


def _decoding_problem(content: bytes, known: Format, header: Header) -> str | None:
    try:
        with open_picture(content) as image:
            image.load()
            return None if header.fits(image.height, image.width) else wrong_size(image.height, image.width)
    except UnidentifiedImageError:  # broken, or a format that this Pillow was built without
        try:
            return None if decoded_by_opencv(content) is not None else header.refused or 'the image is damaged'
        except (DataError, MemoryError) as e:
            return str(e)
    except MemoryError:
        return too_little_memory(header)
    except DataError as e:
        return str(e)
    except Exception as e:  # Pillow's plug-ins may raise anything
        return 'the image is truncated' if 'truncated' in str(e).lower() else f'the image is damaged ({e})'


def size_of(path: str | os.PathLike) -> tuple[int, int]:
    """(width, height) of an image on the local file system as stored, from what lies at its start.

    Raises:
        OSError: the file can't be read, or Pillow finds no image in it.
    """
    with open_file_picture(path) as image:
        return image.size


@contextmanager
def open_file_picture(path: str | os.PathLike) -> Iterator[Image.Image]:
    """An image on the local file system, opened with Pillow to look at its header; raises OSError as `size_of`."""
    names = [known.pillow for known in FORMATS if pillow_has(known.pillow)]
    with open_file(path) as file, Image.open(file, formats=names) as image:
        yield image


def open_picture(content: bytes) -> Image.Image:
    """Open an image with Pillow, by the one decoder of its format; it isn't decoded yet.

    Raises:
        DataError: of no format that is read, or with more pixels than `limits.PIXELS`; without the file's name.
        OSError: Pillow can't read it, or was built without its format.
    """
    known, header = read_header(content)
    if PIXELS.value > 2 * (Image.MAX_IMAGE_PIXELS or PIXELS.value):
        Image.MAX_IMAGE_PIXELS = PIXELS.value  # Pillow has a bound of its own, and the user has raised this one
    if not pillow_has(known.pillow):
        raise UnidentifiedImageError(f'Pillow was built without {known.name}')
    image = Image.open(io.BytesIO(content), formats=(known.pillow,))
    if not header.fits(image.height, image.width):
        raise DataError(wrong_size(image.height, image.width))
    if isinstance(exif := image.info.get('exif'), bytes):
        check_directories(exif)  # put together of what may lie scattered in the file
    return image


def pillow_has(name: str) -> bool:
    """Whether Pillow was built with a decoder, which is given by Pillow's name."""
    if name not in Image.OPEN:
        Image.init()
    return name in Image.OPEN


def wrong_size(height: int, width: int) -> str:
    return f'the image is damaged ({width} × {height} pixels are not what its header says)'


def decoded_by_opencv(content: bytes, flag: int = cv2.IMREAD_UNCHANGED) -> np.ndarray | None:
    """An image's content decoded by OpenCV, which returns None where it can't.

    Raises:
        DataError: as `read_header`, or of another size than that announces.
        MemoryError: there is too little.
    """
    _, header = read_header(content)
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(too_little_memory(header)) from None
        return None
    if image is not None and not header.fits(*image.shape[:2]):
        raise DataError(wrong_size(*image.shape[:2]))
    return image


def too_little_memory(header: Header) -> str:
    return f'there is too little memory for its {header.width} × {header.height} pixels'


def range_of_16_bits(content: bytes) -> tuple[int, int] | None:
    """(lowest, highest) value of an image whose values have 16 bits; None for any other, and for one that is broken."""
    if content.startswith((b'\xff\xd8', b'GIF8', b'RIFF', b'BM')) or (
            content.startswith(PNG) and content[24:25] != b'\x10'):
        return None
    try:
        image = decoded_by_opencv(content)
    except (DataError, MemoryError):
        return None
    return (int(image.min()), int(image.max())) if image is not None and image.dtype == np.uint16 else None


def darkness(low: int, high: int) -> str | None:
    """What becomes of 16-bit values that fill their lower bits alone, as 12-bit cameras' do; None if they do not.

    Args:
        low, high: the lowest and the highest value, of one image or of several from one camera.
    """
    if not 0 < high < 2**15:
        return None
    bits = high.bit_length()
    return (f'the values are {low} to {high} of 65535, {bits} bits in a file of 16, of which the upper 8 are read: '
            f'{low >> 8} to {high >> 8} of 255, nearly black. Multiply them by {2 ** (16 - bits)}, or save 8 bits')


def stretched_labels(content: bytes, backend: str | None = 'pillow') -> str | None:
    """Problem of a segmentation map in a PNM file whose labels its decoder takes for brightness; None for any other.

    Args:
        content: of the file, which has a header.
        backend: mmcv's decoder. OpenCV (None, 'cv2') leaves values as stored unless they are written as text.
    """
    known, header = read_header(content)
    if known.name != 'PNM' or not (header.pillow or header.refused) or (
            backend in (None, 'cv2') and content[1:2] in b'56'):
        return None
    return ('its labels are multiplied when they are read, for the largest value in its header is neither 255 nor '
            '65535: write 255 there (65535 for 16 bits), or save the labels as a PNG')


def label_map_problem(seg_map: np.ndarray, image_shape: tuple[int, int] | None = None,
                      labels: Collection[int] | None = None, path: str | None = None) -> str | None:
    """Problem of a loaded segmentation map, with the way out; None if it is sound.

    Args:
        seg_map: labels, (H, W), see `with_both_sides`.
        image_shape: (H, W) of its image. None: not compared.
        labels: those allowed, 255 besides. None: any.
        path: its file; a 16-bit PNG is read again, for labels that mmseg cut to 8 bits. Default: unknown.
    """
    if seg_map.ndim > 2:
        return (f'the segmentation map has the shape {seg_map.shape}, not one label a pixel. Convert colours to a grey '
                "or palette PNG; a palette needs imdecode_backend='pillow'.")
    if image_shape is not None and seg_map.shape != tuple(image_shape[:2]):
        size = f'{seg_map.shape[1]} × {seg_map.shape[0]} pixels' if seg_map.ndim == 2 else \
            f'a pixel high or wide, {seg_map.size} pixels'
        return (f'the segmentation map is {size}, its image {image_shape[1]} × {image_shape[0]}. Make them one size '
                "(nearest neighbour). An image that its EXIF header turns stays as stored with LoadImageFromFile's "
                "color_type='color_ignore_orientation'.")
    if labels is not None:
        unknown = sorted({*np.unique(seg_map).tolist()} - {*labels, 255})
        if unknown:
            return (f'the segmentation map has the labels {str(unknown[:8])[1:-1]}, and the model has the classes '
                    f'{min(labels)} to {max(labels)} (255: not counted). Set num_classes and the classes of '
                    'metainfo, reduce_zero_label where 0 means no class, or correct the file.')
    return _overflow_problem(path) if labels is not None and isinstance(path, str) else None


def with_both_sides(seg_map: np.ndarray, shape: tuple[int, ...] | None) -> np.ndarray:
    """A map with the side of one pixel that the loaders of mmcv and mmseg take away.

    Args:
        seg_map: as loaded.
        shape: (H, W) of its image; a map of as many pixels has it. None: it is unknown.
    """
    if shape is not None and seg_map.ndim < 2 and seg_map.size == shape[0] * shape[1]:
        return seg_map.reshape(shape[:2])
    return seg_map


def _overflow_problem(path: str) -> str | None:
    """Find labels above 255 in a 16-bit PNG: mmseg keeps the lower eight bits of a label, so 256 would turn into 0."""
    try:
        with open_file(path) as file:
            head = file.read(25)
            if not head.startswith(PNG) or head[24:] != b'\x10':
                return None
            picture = decoded_by_opencv(head + file.read())
    except OSError:  # on other storage
        return None
    largest = 0 if picture is None else picture.max()
    return None if largest < 256 else \
        f'the segmentation map has the label {largest}; mmseg keeps 8 bits. Save it with labels below 256.'
