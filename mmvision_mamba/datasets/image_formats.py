"""The formats of images that are read, told by their first bytes, and what their headers announce.

Each parser here walks a file as the format's decoder does, so that both find the same header: libjpeg skips fill bytes
and whatever else is no marker, libpng and libtiff take what comes first. A file with two headers is refused.
"""
import re
from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

from ..errors import DataError
from ..limits import PIXELS
from .jpeg_2000 import read_codestream
from .tiff_directories import check_directories, counted, number, raw_profile

_BYTES_A_PIXEL = 8  # of four channels of 16 bits; more only in images with accordingly fewer pixels
_BYTES_A_ROW = 32  # Pillow keeps an address of each row, of a turned image of each column
_MOST_SCANS, _MOST_SCANNED = 500, 2**32  # of a JPEG, each of whose scans goes over all pixels; pixels of all together
_MOST_SEGMENTS, _MOST_EXIF = 10_000, 200  # of a JPEG, and of EXIF among them, which Pillow copies anew for each
_MOST_COMMENTS = 2**16  # bytes in a GIF: Pillow copies them anew for each block of them
_MOST_TEXT = 2**20  # bytes of compressed text in a PNG, which may hold a thousand times as much


class Header(NamedTuple):
    """What an image announces.

    Attributes:
        width, height: in pixels, as stored: an EXIF header may turn it.
        depth: bytes that a pixel takes while it is decoded. Default: 4.
        tile: pixels of the largest part that is decoded as a whole. Default: it is not larger than the image.
        exact: whether the decoded image has just these sides, not fewer. Default: True.
        refused: why it is not read but as its values are stored, with the way out. Default: it is read.
        pillow: 'colours' where Pillow decodes it right and OpenCV doesn't, 'values' where that holds for its values as
            stored too. Default: '', they agree.
    """
    width: int
    height: int
    depth: int = 4
    tile: int = 0
    exact: bool = True
    refused: str = ''
    pillow: str = ''

    def fits(self, height: int, width: int) -> bool:
        """Whether an image that was decoded has the size that was announced, upright or turned."""
        sides, announced = sorted((height, width)), sorted((self.height, self.width))
        return sides == announced if self.exact else sides[0] <= announced[0] and sides[1] <= announced[1]


class Format(NamedTuple):
    """A format that is read.

    Attributes:
        name: as users know it.
        pillow: Pillow's name of its decoder.
        starts: whether a file's content is of this format.
        header: the parser. It raises IndexError or ValueError where the content has no such header, DataError where
            the header asks for too much.
    """
    name: str
    pillow: str
    starts: Callable[[bytes], bool]
    header: Callable[[bytes], Header]


def too_wide(values: str) -> str:
    """What is said of an image whose values are such as 'floats of 32 bits'."""
    return (f'its values are {values}, and those of 8 or 16 bits are read: nobody says which of them is white. Scale '
            "them to 0 to 255 and save 8 bits; a model of such values loads them with color_type='unchanged'")


def identify(content: bytes) -> Format:
    """The format of a file's content.

    Raises:
        DataError: of none that is read; without the file's name.
    """
    for known in FORMATS:
        if known.starts(content):
            return known
    for name, start in _OTHERS.items():
        if start.match(content[:512]):
            raise DataError(f'it is {name}, which is not read; images are read as '
                            f'{", ".join(known.name for known in FORMATS[:-1])} or {FORMATS[-1].name}: convert it')
    raise DataError('it is not an image')


def read_header(content: bytes) -> tuple[Format, Header]:
    """The format and the header of an image's content, which is not decoded.

    Raises:
        DataError: no image of a format that is read, a broken header, or more pixels than `limits.PIXELS`; without
            the file's name.
    """
    if not content:
        raise DataError('the file is empty')
    known = identify(content)
    try:
        header = known.header(content)
    except IndexError:
        raise DataError('the image is truncated') from None
    except ValueError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f'the image is damaged ({error})') from None
    check_directories(content)
    width, height, depth, tile, *_ = header
    if width < 1 or height < 1:
        raise DataError(f'the image is damaged (it has {width} × {height} pixels)')
    if width * height > PIXELS.value:
        raise DataError(f'the image is {width} × {height} pixels, and {PIXELS.value} in all are allowed '
                        f'({PIXELS.way_out})')
    taken = max(width * height, tile) * depth + (width + height) * _BYTES_A_ROW
    if taken > PIXELS.value * _BYTES_A_PIXEL:
        raise DataError(f'the image takes {taken} bytes to decode, and {_BYTES_A_PIXEL} for each of {PIXELS.value} '
                        f'pixels are allowed ({PIXELS.way_out})')
    return known, header


def jpeg_markers(content: bytes) -> Iterator[tuple[int, int]]:
    """(marker, offset of its segment's length) of a JPEG, up to the first scan; libjpeg's way through the file."""
    at = 2
    for _ in counted(count()):
        at = content.find(b'\xff', at)
        if at < 0:
            raise IndexError('no scan')
        at = _FILL.match(content, at).end()  # type: ignore[union-attr]
        marker, at = content[at], at + 1
        if marker == 0xd9:
            raise IndexError('it ends before its first scan')
        if marker in _WITHOUT_LENGTH:
            continue
        yield marker, at
        if marker == 0xda:
            return
        at += max(number(content, at, 2), 2)


_FILL = re.compile(rb'\xff*')
_WITHOUT_LENGTH = (0x00, 0x01, *range(0xd0, 0xd9))


def _jpeg(content: bytes) -> Header:
    frames, at, exif = [], 0, []
    for segments, (marker, at) in enumerate(jpeg_markers(content)):
        if marker == 0xe1 and content[at + 2:at + 6] == b'Exif':
            exif.append(content[at + 8:at + number(content, at, 2)])
        if segments > _MOST_SEGMENTS or len(exif) > _MOST_EXIF:
            raise DataError(f'the image has more than {_MOST_SEGMENTS} segments, or {_MOST_EXIF} of EXIF, before its '
                            'first scan: save it anew')
        if 0xc0 <= marker <= 0xcf and marker not in (0xc4, 0xc8, 0xcc):
            frames.append((number(content, at + 5, 2), number(content, at + 3, 2), number(content, at + 7, 1)))
    if len(frames) != 1:
        raise ValueError(f'it has {len(frames) or "no"} headers of a frame')
    if len(exif) > 1:
        check_directories(b''.join(exif))  # Pillow joins them
    width, height, channels = frames[0]
    most = min(_MOST_SCANS, _MOST_SCANNED // max(width * height, 1))
    if (scans := content.count(b'\xff\xda', at - 2, _jpeg_end(content, at))) > most:
        raise DataError(f'the image has {scans} scans, and of {width} × {height} pixels {most} are allowed: save it '
                        'anew')
    return Header(width, height, max(channels, 1))


def _jpeg_end(content: bytes, at: int) -> int:
    """Where libjpeg ends to read a JPEG, whose first scan has its length at `at`: a marker within a comment is none."""
    for _ in counted(count()):
        if not (found := _MARKER.search(content, at + max(int.from_bytes(content[at:at + 2], 'big'), 2))):
            break
        at = found.end()
        while content[at - 1] < 0xc0 or content[at - 1] == 0xd8:  # no marker that has a length
            if not (found := _MARKER.search(content, at)):
                return len(content)
            at = found.end()
        if content[at - 1] == 0xd9:
            return at
    return len(content)


_MARKER = re.compile(rb'\xff[^\0\xd0-\xd7\xff]')  # none of those within a scan


PNG = b'\x89PNG\r\n\x1a\n'


def png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(type, offset, length) of the data of each chunk of a PNG up to its end; IndexError where it breaks off."""
    at = len(PNG)
    for _ in counted(count()):
        length, kind = number(content, at, 4), content[at + 4:at + 8]
        if at + 12 + length > len(content):
            raise IndexError(at)
        yield kind, at + 8, length
        if kind == b'IEND':
            return
        at += 12 + length


def _png(content: bytes) -> Header:
    header, text, depth = None, 0, 0
    for kind, at, length in png_chunks(content):
        if header is None or kind == b'IHDR':
            if header is not None or kind != b'IHDR' or length != 13:
                raise ValueError('its header is not at its start')
            header = number(content, at, 4), number(content, at + 4, 4)
            depth = {0: 1, 2: 3, 4: 2, 6: 4}.get(content[at + 9], 4) * (2 if content[at + 8] == 16 else 1)
        elif kind == b'fcTL' and length == 26 and any(
                number(content, at + 4 + 4 * i, 4) + number(content, at + 12 + 4 * i, 4) > side
                for i, side in enumerate(header)):
            raise ValueError('a frame sticks out of it')
        elif kind == b'zTXt' or (kind == b'iTXt' and content[at:at + length].partition(b'\0')[2][:1] == b'\1'):
            text += length
        if kind in (b'tEXt', b'zTXt', b'iTXt') and content.startswith(b'Raw profile type exif', at):
            check_directories(raw_profile(kind, content[at:at + length]))
    if text > _MOST_TEXT:
        raise DataError(f'the image has {text} bytes of compressed text, and {_MOST_TEXT} are allowed: save it without')
    return Header(*header, depth)


def _bmp(content: bytes) -> Header:
    if number(content, 14, 4, 'little') == 12:
        return Header(number(content, 18, 2, 'little'), number(content, 20, 2, 'little'))
    return Header(number(content, 18, 4, 'little', True), abs(number(content, 22, 4, 'little', True)))


def _gif(content: bytes) -> Header:
    """The screen, which Pillow enlarges for a first frame that sticks out; further frames are not decoded."""
    sides = number(content, 6, 2, 'little'), number(content, 8, 2, 'little')
    flags, at = number(content, 10, 1), 13
    at += 3 * 2 ** ((flags & 7) + 1) if flags & 128 else 0
    comments, parts = 0, counted(count())
    while number(content, at, 1) == 0x21:  # an extension: blocks up to an empty one
        start = at
        at += 2
        while length := number(content, at, 1):
            at += 1 + length
            next(parts)
        at += 1
        next(parts)
        comments += at - start if content[start + 1] == 0xfe else 0
    if comments > _MOST_COMMENTS:
        raise DataError(f'the image has {comments} bytes of comments, and {_MOST_COMMENTS} are allowed: save it '
                        'without')
    if content[at] != 0x2c:
        raise ValueError('it has no frame')
    left, top, width, height = (number(content, at + 1 + 2 * i, 2, 'little') for i in range(4))
    return Header(max(sides[0], left + width), max(sides[1], top + height), pillow='colours')  # transparent ones too


def _webp(content: bytes) -> Header:
    """The canvas, and the frames of whichever codec."""
    sides, at, parts = [], 12, counted(count())
    while at + 8 <= len(content):
        next(parts)
        kind, length, at = content[at:at + 4], number(content, at + 4, 4, 'little'), at + 8
        if kind in (b'VP8X', b'ANMF'):
            start = at + 4 if kind == b'VP8X' else at + 6
            sides.append((number(content, start, 3, 'little') + 1, number(content, start + 3, 3, 'little') + 1))
        elif kind == b'VP8 ':
            sides.append((number(content, at + 6, 2, 'little') & 0x3fff, number(content, at + 8, 2, 'little') & 0x3fff))
        elif kind == b'VP8L':
            bits = number(content, at + 1, 4, 'little')
            sides.append(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        at += 16 if kind == b'ANMF' else length + length % 2  # what a frame of an animation holds comes next
    if not sides:
        raise IndexError('no frame')
    return _largest(sides)


def _pnm(content: bytes) -> Header:
    """Two or three numbers behind the two letters, with white space and comments between; the third is white.

    OpenCV scales by it where the values are text and of 8 bits, Pillow always.
    """
    between = rb'\s(?:\s|#[^\r\n]*[\r\n])*'  # no comment right behind a digit: decoders differ about it
    found = re.match(rb'P(?:[14]|[2356](?=%b\d+%b\d+%b(\d{1,10})\s))%b(\d{1,10})%b(\d{1,10})\s' % ((between,) * 5),
                     content[:4096])
    if not found:
        raise ValueError('it has no width, height and largest value')
    white, width, height = (int(number or 255) for number in found.groups())
    if not 0 < white < 2**16:
        raise ValueError(f'its largest value is {white}')
    refused = '' if white < 256 or white == 65535 else \
        f'its largest value is {white}, and in 16 bits 65535 is white: scale its values to 0 to 65535, or save 8 bits'
    return Header(width, height, 6, refused=refused, pillow='colours' if white < 255 else '')


_TIFF_TYPES = {1: 1, 3: 2, 4: 4, 6: 1, 8: 2, 9: 4, 16: 8, 17: 8}  # of whole numbers: their bytes
_WIDTH, _HEIGHT, _BITS, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT, _KIND = 256, 257, 258, 277, 322, 323, 339
_COLOURS, _ALPHA = 262, 338  # PhotometricInterpretation, ExtraSamples


def _tiff(content: bytes) -> Header:
    """The first page, the only one that decoders return; tiles are decoded whole, wherever they stick out."""
    order = 'little' if content[:1] == b'I' else 'big'
    large = 43 in content[2:4]  # BigTIFF
    word, start = (8, number(content, 8, 8, order)) if large else (4, number(content, 4, 4, order))
    count = number(content, start, 8 if large else 2, order)
    start += 8 if large else 2
    if count > 65535:
        raise ValueError('its directory is too long')
    seen: set[int] = set()
    largest = dict.fromkeys((_BITS, _SAMPLES, _TILE_WIDTH, _TILE_HEIGHT, _KIND), 1) | {
        _WIDTH: 0, _HEIGHT: 0, _COLOURS: -1, _ALPHA: 0}
    for at in range(start, start + count * (4 + 2 * word), 4 + 2 * word):
        tag, kind, values = (number(content, at, 2, order), number(content, at + 2, 2, order),
                             number(content, at + 4, word, order))
        if tag in largest:
            size = _TIFF_TYPES.get(kind)
            if not size or not values or tag in seen:
                raise ValueError(f'its tag {tag} is {"given twice" if tag in seen else "no whole number"}')
            seen.add(tag)
            place = at + 4 + word if size * values <= word else number(content, at + 4 + word, word, order)
            largest[tag] = max(largest[tag], *(
                number(content, place + size * i, size, order) for i in range(min(values, 16))))
    depth = max(3, largest[_SAMPLES]) * -(-largest[_BITS] // 8)
    kind = {2: 'signed numbers', 3: 'floats'}.get(largest[_KIND], 'numbers' if largest[_BITS] > 16 else '')
    refused = too_wide(f'{kind} of {largest[_BITS]} bits') if kind else ''
    if largest[_SAMPLES] > 4:
        refused = (f'it has {largest[_SAMPLES]} bands, and red, green and blue are read: name those that a model '
                   'takes in custom_data.bands')
    if largest[_COLOURS] == 0 and largest[_BITS] > 8:
        refused = refused or 'its values of more than 8 bits have 0 as white, which not every decoder heeds: save it ' \
                             'with 0 as black'
    elif largest[_COLOURS] in (8, 9, 10):
        refused = 'its colours are in CIE Lab, which decoders make different ones of: save it in RGB'
    pillow = ''
    if largest[_ALPHA] in (1, 2) and largest[_SAMPLES] == 4:  # OpenCV multiplies by it, or leaves that as it is stored
        pillow = 'values' if largest[_ALPHA] == 2 and largest[_BITS] <= 8 else 'colours'
    return Header(largest[_WIDTH], largest[_HEIGHT], depth, largest[_TILE_WIDTH] * largest[_TILE_HEIGHT],
                  refused=refused, pillow=pillow)


def _boxes(content: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, end) of the boxes in a part of an ISO base media file."""
    parts = counted(count())
    while at + 8 <= end:
        next(parts)
        length, kind, start = number(content, at, 4), content[at + 4:at + 8], at + 8
        if length == 1:
            length, start = number(content, at + 8, 8), at + 16
        stop = at + length if length else end
        if stop < start or stop > end:
            raise IndexError('a box breaks off')
        yield kind, start, stop
        at = stop


def _jpeg_2000(content: bytes) -> Header:
    """The codestream's own header, which sets what is decoded; that of the box around it has the kind of colours."""
    pillow = ''
    for kind, at, end in _boxes(content, 0, len(content)):
        if kind == b'jp2h' and b'colr\1' in content[at:end]:
            place = content.index(b'colr\1', at, end)
            pillow = 'values' if number(content, place + 7, 4) == 18 else ''  # YCbCr
        elif kind == b'jp2c':
            width, height, components = read_codestream(content, at)
            return Header(width, height, 2 * components, pillow=pillow)
    raise ValueError('it has no codestream')


def _avif(content: bytes) -> Header:
    """The largest extent that any item or track has: libavif scales what it has decoded to that of the image."""
    sides = []
    for kind, start, end in _boxes(content, 0, len(content)):
        if kind in (b'meta', b'moov'):
            part = content[start:end]
            sides += [(number(part, found.end() + 4, 4), number(part, found.end() + 8, 4))
                      for found in counted(re.finditer(b'ispe', part))]
            sides += [(number(part, found.end() + 76 + (12 if part[found.end()] else 0), 4) >> 16,
                       number(part, found.end() + 80 + (12 if part[found.end()] else 0), 4) >> 16)
                      for found in counted(re.finditer(b'tkhd', part))]
    if not sides:
        raise ValueError('it has no size')
    return _largest(sides, exact=False)


def _largest(sides: list[tuple[int, int]], exact: bool = True) -> Header:
    return Header(max(width for width, _ in sides), max(height for _, height in sides), exact=exact)


def _begins(*starts: bytes) -> Callable[[bytes], bool]:
    return lambda content: content.startswith(starts)


FORMATS = (
    Format('JPEG', 'JPEG', _begins(b'\xff\xd8\xff'), _jpeg),
    Format('PNG', 'PNG', _begins(PNG), _png),
    Format('BMP', 'BMP', _begins(b'BM'), _bmp),
    Format('GIF', 'GIF', _begins(b'GIF87a', b'GIF89a'), _gif),
    Format('WebP', 'WEBP', lambda content: content[:4] == b'RIFF' and content[8:12] == b'WEBP', _webp),
    Format('TIFF', 'TIFF', _begins(b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'), _tiff),
    Format('PNM', 'PPM', lambda content: content[:1] == b'P' and content[1:2] in b'123456' and content[2:3].isspace(),
           _pnm),
    Format('JPEG 2000 (.jp2)', 'JPEG2000', _begins(b'\0\0\0\x0cjP  \r\n\x87\n'), _jpeg_2000),
    Format('AVIF', 'AVIF', lambda content: content[4:8] == b'ftyp' and content[8:12] in (b'avif', b'avis'), _avif),
)

# What decoders know besides: formats that have a program started, that hide a size, or that hardly anyone has.
_OTHERS = {name: re.compile(start, re.DOTALL) for name, start in {
    'a PostScript file (EPS)': rb'%!PS|\xc5\xd0\xd3\xc6|\x04%!', 'a PDF document': rb'.{0,255}?%PDF-',
    'a Windows metafile (WMF, EMF)': rb'\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF',
    'an SVG drawing': rb'\s*(<\?xml.*?)?<svg',
    'a Radiance picture (HDR)': rb'#\?(RADIANCE|RGBE)', 'an OpenEXR picture': rb'v/1\x01',
    'a portable float map (PFM)': rb'P[fF]\s', 'a portable arbitrary map (PAM)': rb'P7\s',
    'a Sun raster': rb'\x59\xa6\x6a\x95', 'a JPEG 2000 codestream': rb'\xff\x4f\xff\x51',
    'a JPEG XL picture': rb'\xff\x0a|\0\0\0\x0cJXL ', 'a HEIC picture': rb'.{4}ftyp(hei|hev|mif1|msf1)',
    'a FlashPix or Office file': rb'\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', 'a Photoshop file': rb'8BPS',
    'an icon': rb'\0\0[\x01\x02]\0', 'a DirectDraw surface': rb'DDS ', 'a DICOM file': rb'.{128}DICM',
    'a NumPy array': rb'\x93NUMPY', 'a ZIP archive': rb'PK\x03\x04', 'a gzip file': rb'\x1f\x8b',
    'an HDF5 file': rb'\x89HDF\r\n\x1a\n', 'a QOI picture': rb'qoif',
    'a PCX picture': rb'\x0a[\0-\x05]\x01[\x01\x02\x04\x08]',
    'an SGI picture': rb'\x01\xda[\0\x01][\x01\x02]', 'a Git LFS pointer, not the file': rb'version https://git-lfs'}.items()}
