"""Sizes of images, by their headers: as stored, and as the header turns them."""
import functools
import os
from typing import NamedTuple

from PIL import Image

from ..errors import UserError
from .image_files import open_file_picture
from .mask_values import is_lossy
from .tiff_windows import is_tiff, open_tiff

_EXIF_ORIENTATION = 0x0112  # its values 5 to 8: turned by 90°
_WIDTH, _HEIGHT = 256, 257  # tags of a TIFF


class Sizes(NamedTuple):
    """What an image file says of itself.

    Attributes:
        stored, upright: (width, height) as stored, and as its header turns it.
        lossy: whether its format changes values. Default: False.
        orientation: as Pillow reads it from EXIF or XMP, 1 to 8; of a TIFF, which is always turned, 1. Default: 1.
    """
    stored: tuple[int, int]
    upright: tuple[int, int]
    lossy: bool = False
    orientation: int = 1


def picture_sizes(image: Image.Image) -> Sizes:
    """The sizes of a picture that Pillow has opened; an EXIF header that is broken may raise anything."""
    if image.format == 'TIFF':  # every decoder turns it, whatever it is told
        sides = image.tag_v2[_WIDTH], image.tag_v2[_HEIGHT]
        upright = sides[::-1] if image.tag_v2.get(_EXIF_ORIENTATION, 1) >= 5 else sides
        return Sizes(upright, upright, is_lossy(image))
    # Pillow decodes a whole PNG to look for EXIF behind it.
    exif = image.getexif() if image.format != 'PNG' or 'exif' in image.info else {}
    orientation = exif.get(_EXIF_ORIENTATION, 1)
    return Sizes(image.size, image.size[::-1] if orientation >= 5 else image.size, is_lossy(image), orientation)


def upright_size(path: str) -> tuple[int, int]:
    """(width, height) of an image on the local file system, as its header turns it; read once for each file.

    Raises:
        OSError: it can't be read, or Pillow finds no image in it.
    """
    status = os.stat(path)
    return _upright_size(path, status.st_mtime_ns, status.st_size)


@functools.lru_cache(2**20)  # a run reads its annotations several times
def _upright_size(path: str, *_: int) -> tuple[int, int]:
    try:
        with open_file_picture(path) as image:
            try:
                return picture_sizes(image).upright
            except Exception:  # a broken EXIF header
                return image.size
    except OSError:
        if (sizes := tiff_sizes(path)) is None:
            raise
        return sizes.upright


def tiff_sizes(path: str) -> Sizes | None:
    """The sizes of a TIFF of any number of bands, of which Pillow knows few; None where it is none.
    """
    if not is_tiff(path):
        return None
    try:
        with open_tiff(path) as tiff:
            return Sizes((tiff.width, tiff.height), (tiff.width, tiff.height))
    except UserError:  # it is broken, or tifffile is not installed
        return None
