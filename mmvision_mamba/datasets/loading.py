"""Loading transforms that name the file they can't read, and the test of an image file they share with the scanner."""
import functools
import io
import os
import zlib
from collections.abc import Collection

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform, LoadImageFromFile
from mmengine import fileio
from mmengine.registry import TRANSFORMS
from PIL import Image, UnidentifiedImageError

from ..errors import DataError

_JPEG = b'\xff\xd8\xff'
_PNG = b'\x89PNG\r\n\x1a\n'
_ANNOTATION_LOADERS = ('LoadAnnotations', 'LoadPanopticAnnotations')

# A file of some kilobytes can hold an image that fills the memory of every worker. Pillow's limit, for all formats;
# OpenCV's own variable (whose default is 2^30) raises it.
MAX_PIXELS = int(os.environ.get('OPENCV_IO_MAX_IMAGE_PIXELS') or 2 * (Image.MAX_IMAGE_PIXELS or 2**29))


def image_problem(source: str | os.PathLike | bytes, quick: bool = True) -> str | None:
    """What is wrong with an image file, or None.

    Some OpenCV versions fill the missing part of a truncated JPEG with grey and say nothing, so decoding alone does not
    tell. A JPEG or PNG that is whole by its own structure is taken as good without being decoded; everything else, and
    with `quick=False` every file, is decoded once.

    Args:
        source: path (anything `mmengine.fileio.get` reads) or the file's content.
        quick: trust the structure of JPEG and PNG files. Damage inside a file that is whole is found only by False.

    Returns:
        A short phrase such as 'the image is truncated', or None for a good image.
    """
    if not isinstance(source, bytes | bytearray | memoryview):
        try:
            source = fileio.get(os.fspath(source))
        except FileNotFoundError:
            return 'the file is missing'
        except OSError as e:
            return f'the file cannot be read ({e.strerror or e})'
    content = bytes(source)
    if not content:
        return 'the file is empty'
    width, height = _size(content)
    if width * height > MAX_PIXELS:
        return (f'the image is {width} × {height} pixels, and {MAX_PIXELS} in all are allowed '
                '(OPENCV_IO_MAX_IMAGE_PIXELS=NUMBER in the environment allows more)')
    if content.startswith(_JPEG) and quick and _jpeg_is_whole(content):
        return None
    if content.startswith(_PNG):
        problem = _png_problem(content, checksums=not quick)
        if problem or quick:
            return problem
    return _decoding_problem(content)


def _size(content: bytes) -> tuple[int, int]:
    """Width and height of a JPEG or PNG as stored, by its header alone; (0, 0) where it tells none, or another format:
    those are left to Pillow, which looks before it decodes."""
    if content.startswith(_PNG):
        return int.from_bytes(content[16:20], 'big'), int.from_bytes(content[20:24], 'big')
    if content.startswith(_JPEG):
        for kind, at in _jpeg_segments(content):
            if 0xc0 <= kind <= 0xcf and kind not in (0xc4, 0xc8, 0xcc):  # a frame's header
                return int.from_bytes(content[at + 7:at + 9], 'big'), int.from_bytes(content[at + 5:at + 7], 'big')
    return 0, 0


def _jpeg_segments(content: bytes):
    """(marker, where it is) of each segment up to the image's own start of scan."""
    at = len(_JPEG) - 1
    while content[at:at + 1] == b'\xff' and at + 1 < len(content):
        yield content[at + 1], at
        if content[at + 1] == 0xda:
            return
        at += 2 + int.from_bytes(content[at + 2:at + 4], 'big')


def _jpeg_is_whole(content: bytes) -> bool:
    """Whether the end marker comes last (zeros may follow) and belongs to the image itself.

    The thumbnail in an EXIF header has an end marker too: it counts only past the image's own start of scan.
    """
    scanned = any(kind == 0xda for kind, _ in _jpeg_segments(content))
    return scanned and content.rstrip(b'\0').endswith(b'\xff\xd9')


def _png_problem(content: bytes, checksums: bool) -> str | None:
    """Walks the chunks up to IEND. Whatever follows is no part of the image."""
    view, at = memoryview(content), len(_PNG)
    while at + 12 <= len(view):  # length, type, data, checksum
        end = at + 12 + int.from_bytes(view[at:at + 4], 'big')
        kind = bytes(view[at + 4:at + 8])
        if end > len(view):
            break
        if kind == b'IEND':
            return None
        # Lower-case initial: a chunk that decoders may ignore.
        stored = int.from_bytes(view[end - 4:end], 'big')
        if checksums and kind[:1].isupper() and zlib.crc32(view[at + 4:end - 4]) != stored:
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
    except Image.DecompressionBombError as e:  # more pixels than Pillow cares for
        if 2 * (Image.MAX_IMAGE_PIXELS or 0) >= MAX_PIXELS:
            return f'the image is too large ({e})'
        return None if _cv2_reads(content) else 'the image is damaged or too large'
    except Exception as e:  # Pillow's plug-ins raise whatever they stumble over
        return 'the image is truncated' if 'truncated' in str(e).lower() else f'the image is damaged ({e})'
    return None


def _cv2_reads(content: bytes) -> bool:
    try:
        return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) is not None
    except cv2.error:
        return False


def _error(path, problem: str) -> DataError:
    return DataError(f'{path}: {problem}. Replace the file, or leave such files out with --skip-bad-images.')


@TRANSFORMS.register_module()
class CheckedLoadImageFromFile(LoadImageFromFile):
    """mmcv's `LoadImageFromFile`, arguments and pixels included, for files that may be broken.

    Adds to `results`: `img` (H, W, C) or (H, W), `img_shape` and `ori_shape` (H, W) in pixels. An image that its EXIF
    header turns by 90° stays as stored where that is the size its annotations give: they were made for that.

    Raises:
        DataError: the file at `results['img_path']` is missing, empty, truncated, not an image, larger than
            `MAX_PIXELS`, or of another size than its annotations say. With `ignore_empty=True` the result is None
            instead, as in mmcv.
    """

    def transform(self, results: dict) -> dict | None:
        path, image = results['img_path'], None
        try:
            content = self._read(path)
        except FileNotFoundError:
            problem = 'the file is missing'
        except OSError as e:
            problem = f'the file cannot be read ({e.strerror or e})'
        else:
            problem = image_problem(content)
            if not problem:
                image, problem = self._decode(content, self.color_type)
            if not problem and results.get('instances') and results.get('height') and results.get('width'):
                image, problem = self._as_annotated(content, image, (results['height'], results['width']))
        if problem:
            if self.ignore_empty:
                return None
            raise _error(path, problem)
        if self.to_float32:
            image = image.astype(np.float32)
        results['img'] = image
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = image.shape[:2]
        return results

    def _read(self, path: str) -> bytes:
        if self.file_client_args is not None:  # deprecated in mmcv, still accepted there
            return fileio.FileClient.infer_client(self.file_client_args, path).get(path)
        return fileio.get(path, backend_args=self.backend_args)

    def _as_annotated(self, content: bytes, image: np.ndarray, size: tuple) -> tuple[np.ndarray, str | None]:
        if image.shape[:2] == size:
            return image, None
        if image.shape[:2] == size[::-1] and self.color_type in ('color', 'grayscale'):
            stored, _ = self._decode(content, f'{self.color_type}_ignore_orientation')
            if stored is not None and stored.shape[:2] == size:
                return stored, None
        return image, (f'the image is {image.shape[1]} × {image.shape[0]} pixels, its annotations are for '
                       f'{size[1]} × {size[0]}')

    def _decode(self, content: bytes, flag: str) -> tuple[np.ndarray | None, str | None]:
        image = None
        try:
            image = mmcv.imfrombytes(content, flag=flag, backend=self.imdecode_backend)
        except Exception:
            if not image_problem(content, quick=False):
                raise  # the file is good: a wrong argument, or not enough memory
        if image is not None:
            return image, None
        return None, (image_problem(content, quick=False)
                      or f'imdecode_backend={self.imdecode_backend!r} cannot decode it')


class CheckedAnnotations(BaseTransform):
    """Any annotation loader; when it fails on a broken segmentation map, the error names the file.

    Args:
        loader_type: the loader's class; **kwargs are its arguments.
        labels: the labels that segmentation maps may have, 255 besides. None: any.

    Raises:
        DataError: the file at `results['seg_map_path']` is missing, empty, truncated, not an image, of another size
            than the image, or has labels out of range.
    """

    def __init__(self, loader_type: type, labels: Collection[int] | None = None, **kwargs):
        self.loader = loader_type(**kwargs)
        self.labels = labels

    def transform(self, results: dict) -> dict | None:
        path = results.get('seg_map_path')
        try:
            loaded = self.loader(results)
        except Exception as e:
            local = not getattr(self.loader, 'backend_args', None)
            problem = image_problem(path, quick=False) if path and local else None
            if not problem:
                raise
            raise _error(path, problem) from e
        if loaded is not None and path and loaded.get('gt_seg_map') is not None:
            problem = label_map_problem(loaded['gt_seg_map'], loaded.get('ori_shape'), self.labels, path)
            if problem:
                raise DataError(f'{path}: {problem}')
        return loaded

    def __repr__(self) -> str:
        return repr(self.loader)


def label_map_problem(seg_map: np.ndarray, image_shape: tuple[int, int] | None = None,
                      labels: Collection[int] | None = None, path: str | None = None) -> str | None:
    """What keeps a loaded segmentation map from being one, with the way out; or None.

    Args:
        seg_map: labels, (H, W).
        image_shape: (H, W) of its image.
        labels: those allowed, 255 besides.
        path: where it comes from; a PNG of 16 bits is looked at once more, for labels that mmseg cut to 8.
    """
    if seg_map.ndim != 2:
        return (f'the segmentation map has the shape {seg_map.shape}, not one label a pixel. Convert colours to a grey '
                "or palette PNG; a palette needs imdecode_backend='pillow'.")
    if image_shape is not None and seg_map.shape != tuple(image_shape[:2]):
        return (f'the segmentation map is {seg_map.shape[1]} × {seg_map.shape[0]} pixels, its image {image_shape[1]} × '
                f'{image_shape[0]}. Make them one size (nearest neighbour). An image that its EXIF header turns stays '
                "as stored with LoadImageFromFile's color_type='color_ignore_orientation'.")
    if labels is not None:
        strange = sorted({*np.unique(seg_map).tolist()} - {*labels, 255})
        if strange:
            return (f'the segmentation map has the labels {str(strange[:8])[1:-1]}, and the model has the classes '
                    f'{min(labels)} to {max(labels)} (255: not counted). Set num_classes and the classes of '
                    'metainfo, reduce_zero_label where 0 means no class, or correct the file.')
    return _wraps(path) if labels is not None and isinstance(path, str) else None


def _wraps(path: str) -> str | None:
    """mmseg keeps the lower eight bits of a label: 256 would turn into 0. Only 16 bit PNG files are looked at again."""
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


def _checked_resize(resize: type) -> type:
    """A subclass of a toolbox's `Resize` that names the image of which less than a pixel would be left."""

    class Checked(resize):
        def transform(self, results: dict) -> dict:
            height, width = results['img'].shape[:2]
            try:
                return super().transform(results)
            except (cv2.error, ValueError) as e:
                if max(height, width) < 50 * min(height, width):
                    raise
                raise DataError(
                    f'{results.get("img_path")}: nothing is left of {width} × {height} pixels resized to '
                    f'{results.get("scale")}. Crop or remove the image, or resize with keep_ratio=False.') from e

        def __reduce__(self):  # for workers that are spawned: no module has this class
            return _rebuilt, (resize, self.__dict__)

    Checked.__name__ = Checked.__qualname__ = resize.__name__
    Checked.unchecked = resize
    return Checked


def _rebuilt(resize: type, state: dict) -> BaseTransform:
    transform = object.__new__(_checked_resize(resize))
    transform.__dict__.update(state)
    return transform


def known_labels(cfg) -> range | None:
    """The labels a segmentor's head knows; those of a binary one (`num_classes=1`) are 0 and 1."""
    head = (cfg.get('model') or {}).get('decode_head')
    head = head[-1] if isinstance(head, list | tuple) and head else head
    classes = head.get('num_classes') if isinstance(head, dict) else None
    return range(max(classes, 2)) if isinstance(classes, int) else None


def use_checked_loading(cfg) -> None:
    """From now on `LoadImageFromFile`, `LoadAnnotations` and `Resize` in a pipeline build their checked versions.

    The names are rebound in the registry of the config's `default_scope` and the config stays as it is: it is written
    into work directories and checkpoints, where mmdet's and mmseg's inferencers look for these very names.
    """
    with TRANSFORMS.switch_scope_and_registry(cfg.get('default_scope')) as registry:
        # A loader that somebody registered under mmcv's name has precedence, and reads as it likes.
        if registry.get('LoadImageFromFile') is LoadImageFromFile:
            registry.register_module('LoadImageFromFile', force=True, module=CheckedLoadImageFromFile)
        for name in _ANNOTATION_LOADERS:
            loader = registry.get(name)
            if getattr(loader, 'func', None) is CheckedAnnotations:  # of an earlier config, with its classes
                loader = loader.args[0]
            if isinstance(loader, type):
                checked = functools.partial(CheckedAnnotations, loader, known_labels(cfg))
                registry.register_module(name, force=True, module=checked)
        resize = registry.get('Resize')
        if isinstance(resize, type) and not hasattr(resize, 'unchecked'):
            registry.register_module('Resize', force=True, module=_checked_resize(resize))
