"""Reads one image of any kind as the array that a test pipeline starts from: BGR, uint8, upright."""
import logging
import os
from contextlib import suppress

import cv2
import numpy as np
from mmengine.logging import print_log
from PIL import Image, ImageOps

from ..datasets.image_files import darkness, image_problem, open_picture, range_of_16_bits
from ..datasets.image_formats import read_header, too_wide
from ..datasets.loading import decoded
from ..downloads import fetch, is_url
from ..errors import DataError
from ..files import read_bytes
from ..limits import IMAGE_BYTES, IMAGE_SECONDS

_warned: list[str] = []


def as_bgr(image, color_type: str = 'color', backend: str | None = None) -> np.ndarray:
    """One image of any kind -> uint8 ``(H, W, 3)``, BGR.

    Args:
        image: a path or URL, see `read_image`; a NumPy array, see `from_array`; a Pillow image.
        color_type, backend: of files and URLs, see `read_image`.

    Raises:
        DataError: it can't be read, or is of another type.
    """
    if isinstance(image, str | os.PathLike):
        return read_image(image, color_type, backend)
    if isinstance(image, np.ndarray):
        return from_array(image)
    if isinstance(image, Image.Image):
        return from_pil(image)
    raise DataError(f'an image is a path, URL, NumPy array or Pillow image, not {type(image)}')


def read_image(path: str | os.PathLike, color_type: str = 'color', backend: str | None = None) -> np.ndarray:
    """The image in a file or at an http(s) URL, decoded as mmcv's `LoadImageFromFile` does it.

    It is turned upright as its EXIF orientation says; grey becomes three equal channels, 16 bits their upper 8;
    transparency is dropped.

    Args:
        path: file or URL.
        color_type: as in `LoadImageFromFile`. Default: 'color'.
        backend: that loader's imdecode_backend; Pillow is tried on images that it can't decode. Default: mmcv's.

    Returns:
        uint8 ``(H, W, 3)``, BGR.

    Raises:
        DataError: missing, truncated, not an image, or with more pixels than `limits.PIXELS`; names the file.
    """
    content = content_of(path)
    if problem := image_problem(content):
        raise DataError(f'{path}: {problem}')
    if not color_type.startswith('unchanged'):
        if problem := read_header(content)[1].refused:
            raise DataError(f'{path}: {problem}')
        if values := range_of_16_bits(content):
            warn_if_dark(str(path), *values)
    image = None
    with suppress(cv2.error, OSError, SyntaxError, ValueError):  # reported below if Pillow fails too
        image = decoded(content, color_type, backend)
    if image is not None and image.dtype == np.uint8 and image.ndim == 3:
        return image
    try:
        with open_picture(content) as opened:
            return from_pil(opened)
    except MemoryError:
        raise DataError(f'{path}: there is too little memory to decode it') from None
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f'{path}: {image_problem(content, quick=False) or f"can not be decoded ({error})"}') from None


def content_of(path: str | os.PathLike) -> bytes:
    """The content of an image's file, or of what is at an http(s) URL; raises DataError, which names it."""
    try:
        return fetch(str(path), IMAGE_BYTES.value, IMAGE_SECONDS.value) if is_url(path) else \
            read_bytes(path, IMAGE_BYTES.value)
    except FileNotFoundError:
        raise DataError(f'{path}: no such file') from None
    except OSError as error:
        raise DataError(f'{path}: can not be read ({error.strerror or error})') from None


def warn_if_dark(name: str, low: int, high: int) -> None:
    """Log a warning of the first image of 16 bits that comes out nearly black."""
    if (problem := darkness(low, high)) and not _warned:
        _warned.append(name)
        print_log(f'{name}: {problem}', logger='current', level=logging.WARNING)


def from_pil(image: Image.Image) -> np.ndarray:
    """A Pillow image of any mode -> uint8 ``(H, W, 3)``, BGR, upright as its EXIF orientation says.

    Raises:
        DataError: its values are floats, or whole numbers that 16 bits can't hold.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith('I') or image.mode == 'F':  # Pillow clips these at 255 instead of scaling them
        values = np.asarray(image)
        if values.dtype.kind == 'f' or (values.size and not 0 <= values.min() <= values.max() < 2**16):
            raise DataError(too_wide(f'{values.dtype}, {values.min():g} to {values.max():g}'))
        return from_array(values.astype(np.uint16))
    return np.ascontiguousarray(np.asarray(image.convert('RGB'))[..., ::-1])


def from_array(image: np.ndarray) -> np.ndarray:
    """A NumPy image -> uint8 ``(H, W, 3)``.

    Args:
        image: ``(H, W)``, ``(H, W, 1)``, ``(H, W, 3)`` in BGR or ``(H, W, 4)`` in BGRA, as cv2.imread reads them;
            uint8, uint16 or bool.

    Raises:
        DataError: another shape or type, or no pixels.
    """
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3, 4)) or not image.size:
        raise DataError(f'an image array must be (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), got {image.shape}')
    if image.dtype == np.uint16:
        warn_if_dark('an array', int(image.min()), int(image.max()))
        image = (image >> 8).astype(np.uint8)
    elif image.dtype == bool:
        image = image.astype(np.uint8) * 255
    elif image.dtype != np.uint8:
        raise DataError(f'an image array must be uint8, uint16 or bool, got {image.dtype}: values from 0 to 255 are '
                        'expected; convert it with .astype(numpy.uint8)')
    if image.ndim == 2 or image.shape[2] == 1:
        image = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    return np.ascontiguousarray(image[..., :3])
