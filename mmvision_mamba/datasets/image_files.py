"""Checks of image files and segmentation maps: whole, decodable, of the right size and labels."""
import io
import os
import zlib
from collections.abc import Collection

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

_JPEG = b'\xff\xd8\xff'
_PNG = b'\x89PNG\r\n\x1a\n'
# Most pixels of an image, since a file of some kilobytes can hold one that fills the memory of every worker. Pillow's
# limit, for all formats; OpenCV's own environment variable (whose default is 2^30) raises it.
MAX_PIXELS = int(os.environ.get('OPENCV_IO_MAX_IMAGE_PIXELS') or 2 * (Image.MAX_IMAGE_PIXELS or 2**29))


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
        from mmengine import fileio  # whose import registers the transforms, which need this module
        try:
            source = fileio.get(os.fspath(source))
        except FileNotFoundError:
            return 'the file is missing'
        except OSError as e:
            return f'the file cannot be read ({e.strerror or e})'
    content = bytes(source)
    if not content:
        return 'the file is empty'
    width, height = _stored_size(content)
    if width * height > MAX_PIXELS:
        return (f'the image is {width} × {height} pixels, and {MAX_PIXELS} in all are allowed '
                '(OPENCV_IO_MAX_IMAGE_PIXELS=NUMBER in the environment allows more)')
    if content.startswith(_JPEG) and quick and _jpeg_is_complete(content):
        return None
    if content.startswith(_PNG):
        problem = _png_problem(content, checksums=not quick)
        if problem or quick:
            return problem
    return _decoding_problem(content)


def _stored_size(content: bytes) -> tuple[int, int]:
    """(width, height) from the header of a JPEG or PNG; (0, 0) if it has none, and for other formats, which Pillow
    measures before it decodes."""
    if content.startswith(_PNG):
        return int.from_bytes(content[16:20], 'big'), int.from_bytes(content[20:24], 'big')
    if content.startswith(_JPEG):
        for marker, at in _jpeg_segments(content):
            if 0xc0 <= marker <= 0xcf and marker not in (0xc4, 0xc8, 0xcc):  # a frame's header
                return int.from_bytes(content[at + 7:at + 9], 'big'), int.from_bytes(content[at + 5:at + 7], 'big')
    return 0, 0


def _jpeg_segments(content: bytes):
    """(marker, its offset) of each segment up to the image's own start of scan."""
    at = len(_JPEG) - 1
    while content[at:at + 1] == b'\xff' and at + 1 < len(content):
        yield content[at + 1], at
        if content[at + 1] == 0xda:
            return
        at += 2 + int.from_bytes(content[at + 2:at + 4], 'big')


def _jpeg_is_complete(content: bytes) -> bool:
    """Whether the end marker comes last (zeros may follow) and belongs to the image itself.

    The thumbnail in an EXIF header has an end marker too: it counts only past the image's own start of scan.
    """
    has_scan = any(marker == 0xda for marker, _ in _jpeg_segments(content))
    return has_scan and content.rstrip(b'\0').endswith(b'\xff\xd9')


def _png_problem(content: bytes, checksums: bool) -> str | None:
    """Check the chunks of a PNG up to IEND; whatever follows is no part of the image."""
    view, at = memoryview(content), len(_PNG)
    while at + 12 <= len(view):  # length, type, data, checksum
        end = at + 12 + int.from_bytes(view[at:at + 4], 'big')
        chunk_type = bytes(view[at + 4:at + 8])
        if end > len(view):
            break
        if chunk_type == b'IEND':
            return None
        # Lower-case initial: a chunk that decoders may ignore.
        stored = int.from_bytes(view[end - 4:end], 'big')
        if checksums and chunk_type[:1].isupper() and zlib.crc32(view[at + 4:end - 4]) != stored:
            return 'the image is damaged'
        at = end
    return 'the image is truncated'


def _decoding_problem(content: bytes) -> str | None:
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
    except UnidentifiedImageError:
        if content.startswith(_JPEG):
            return 'the image is truncated'
        return None if _cv2_reads(content) else 'it is not an image'  # a few formats are known to OpenCV only
    except Image.DecompressionBombError as e:  # more pixels than Pillow allows
        if 2 * (Image.MAX_IMAGE_PIXELS or 0) >= MAX_PIXELS:
            return f'the image is too large ({e})'
        return None if _cv2_reads(content) else 'the image is damaged or too large'
    except Exception as e:  # Pillow's plug-ins may raise anything
        return 'the image is truncated' if 'truncated' in str(e).lower() else f'the image is damaged ({e})'
    return None


def _cv2_reads(content: bytes) -> bool:
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    except cv2.error:
        return False


def range_of_16_bits(content: bytes) -> tuple[int, int] | None:
    """(lowest, highest) value of an image whose values have 16 bits; None for any other image."""
    if content.startswith((_JPEG, b'GIF8', b'RIFF', b'BM')) or (content.startswith(_PNG) and content[24:25] != b'\x10'):
        return None
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
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


def label_map_problem(seg_map: np.ndarray, image_shape: tuple[int, int] | None = None,
                      labels: Collection[int] | None = None, path: str | None = None) -> str | None:
    """Problem of a loaded segmentation map, with the way out; None if it is sound.

    Args:
        seg_map: labels, (H, W).
        image_shape: (H, W) of its image. None: not compared.
        labels: those allowed, 255 besides. None: any.
        path: its file; a 16-bit PNG is read again, for labels that mmseg cut to 8 bits. Default: unknown.
    """
    if seg_map.ndim != 2:
        return (f'the segmentation map has the shape {seg_map.shape}, not one label a pixel. Convert colours to a grey '
                "or palette PNG; a palette needs imdecode_backend='pillow'.")
    if image_shape is not None and seg_map.shape != tuple(image_shape[:2]):
        return (f'the segmentation map is {seg_map.shape[1]} × {seg_map.shape[0]} pixels, its image {image_shape[1]} × '
                f'{image_shape[0]}. Make them one size (nearest neighbour). An image that its EXIF header turns stays '
                "as stored with LoadImageFromFile's color_type='color_ignore_orientation'.")
    if labels is not None:
        unknown = sorted({*np.unique(seg_map).tolist()} - {*labels, 255})
        if unknown:
            return (f'the segmentation map has the labels {str(unknown[:8])[1:-1]}, and the model has the classes '
                    f'{min(labels)} to {max(labels)} (255: not counted). Set num_classes and the classes of '
                    'metainfo, reduce_zero_label where 0 means no class, or correct the file.')
    return _overflow_problem(path) if labels is not None and isinstance(path, str) else None


def _overflow_problem(path: str) -> str | None:
    """Find labels above 255 in a 16-bit PNG: mmseg keeps the lower eight bits of a label, so 256 would turn into 0."""
    try:
        with open(path, 'rb') as file:
            head = file.read(25)
    except OSError:  # on other storage
        return None
    if not head.startswith(_PNG) or head[24] != 16:
        return None
    largest = cv2.imread(path, cv2.IMREAD_UNCHANGED).max()
    return None if largest < 256 else \
        f'the segmentation map has the label {largest}; mmseg keeps 8 bits. Save it with labels below 256.'
