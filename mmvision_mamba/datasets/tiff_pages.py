"""Pages of a TIFF that are the bands of one picture, as ImageJ and tifffile write arrays (C, H, W)."""
import re
from typing import Any

MOST = 16  # pages: a longer stack is a volume or a film
_NO_BAND = 1 | 4  # in NewSubfileType: a reduced image, a mask
# The axes of a stack: of ImageJ, of OME, and in the shape that tifffile notes.
_IMAGEJ, _OME = re.compile(r'^(?:channels|slices|frames)=(\d+)', re.MULTILINE), re.compile(r'\bSize[CZT]="(\d+)"')
_SHAPE = re.compile(r'"shape": *\[([\d, ]+)\]')


def band_pages(file: Any) -> list[Any]:
    """The pages of an open `tifffile.TiffFile` that are bands, in their order; the first alone where none other is.

    Pages marked as reduced images or masks count for nothing. The others are bands where there are 2 to `MOST`, each of
    one sample a pixel and all alike in size, type, colours and orientation, and the file's description names no two
    axes, such as channels and slices, in which case their order would be a guess.
    """
    first = file.pages[0]
    found = [first]
    if first.samplesperpixel != 1 or _is_other(first) or _axes(str(first.description)[:2**16]) > 1:
        return [first]
    for i in range(1, 2 * MOST + 1):
        try:
            page = file.pages[i]
        except IndexError:
            return found if len(found) <= MOST else [first]
        if _is_other(page):
            continue
        if _form(page) != _form(first):
            return [first]
        found.append(page)
    return [first]


def _is_other(page: Any) -> bool:
    return bool(page.tags.valueof(254, 0) & _NO_BAND) or page.tags.valueof(255) == 2  # the older tag: 2 is reduced


def _form(page: Any) -> tuple:
    return (page.imagelength, page.imagewidth, page.imagedepth, page.samplesperpixel, str(page.dtype),
            page.bitspersample, int(page.photometric), page.tags.valueof(274, 1))


def _axes(description: str) -> int:
    """How many axes longer than 1 a description names beside height and width."""
    if description.startswith('ImageJ='):
        lengths = _IMAGEJ.findall(description)
    elif shape := _SHAPE.search(description):
        lengths = [one for one in shape[1].replace(' ', '').split(',')[:-2] if one]
    else:
        lengths = _OME.findall(description.split('</Pixels>', 1)[0])
    return sum(int(length[:9]) > 1 for length in lengths)
