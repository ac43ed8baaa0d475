"""Loading transforms whose errors name the file that they can't load."""
import io
import struct
from collections.abc import Callable, Collection, Iterator
from typing import Any

import cv2
import mmcv
import numpy as np
from mmcv.transforms import BaseTransform, LoadAnnotations, LoadImageFromFile, Resize
from mmengine import fileio
from mmengine.dataset import Compose
from mmengine.registry import TRANSFORMS

from ..errors import DataError
from ..limits import OBJECTS, PIXELS
from ..printable import shown
from . import pipelines  # a module: its own import of mmengine may be what registers this one
from .coco_masks import masks_problem
from .image_files import (
    file_content,
    image_problem,
    label_map_problem,
    missing,
    open_picture,
    pillow_has,
    stretched_labels,
    too_little_memory,
    with_both_sides,
    wrong_size,
)
from .image_formats import read_header
from .tiff_windows import as_bgr, is_tiff, open_tiff

_GOOD = b'BM' + struct.pack('<IIIIiiHHIIiiII', 58, 0, 54, 40, 1, 1, 1, 24, 0, 4, 0, 0, 0, 0) + bytes(4)  # a black pixel


def annotated_size(info: dict) -> tuple | None:
    """(height, width) that an item's objects or outlines are made for; None where it has none, or no size."""
    if (info.get('instances') or info.get('shapes')) and info.get('height') and info.get('width'):
        return info['height'], info['width']
    return None


def _file_error(path, problem: str) -> DataError:
    return DataError(f'{path}: {problem}. Replace the file, or leave such files out with --skip-bad-images.')


@TRANSFORMS.register_module()
class CheckedLoadImageFromFile(LoadImageFromFile):
    """mmcv's `LoadImageFromFile` with the same arguments and pixels, whose errors name the file.

    Pillow decodes what OpenCV gives other colours than it has, see `image_formats.Header.pillow`.

    Adds to `results`: `img` (H, W, C) or (H, W), `img_shape` and `ori_shape` (H, W) in pixels. An image that its EXIF
    header turns by 90° stays as stored if its annotations give the stored size: they were made for that.

    Raises:
        DataError: the file at `results['img_path']` is missing, empty, truncated, not an image, larger than
            `limits.PIXELS`, or of another size than its annotations say. With `ignore_empty=True` the result is None
            instead, as in mmcv.
    """

    @classmethod
    def like(cls, loader: LoadImageFromFile) -> 'CheckedLoadImageFromFile':
        """A checked loader with the settings of `loader`."""
        storage = dict(backend_args=loader.backend_args) if loader.file_client_args is None else \
            dict(file_client_args=loader.file_client_args)
        return cls(to_float32=loader.to_float32, color_type=loader.color_type, imdecode_backend=loader.imdecode_backend,
                   ignore_empty=loader.ignore_empty, **storage)

    def transform(self, results: dict) -> dict | None:
        path, image = results['img_path'], None
        try:
            content = self._read(path)
        except FileNotFoundError:
            problem = missing(path)
        except OSError as e:
            problem = f'the file cannot be read ({e.strerror or e})'
        else:
            problem = self.problem(content)
            if not problem:
                image, problem = self.decode(content)
            if not problem and (size := annotated_size(results)):
                image, problem = self.as_annotated(content, image, size)
        if problem:
            if self.ignore_empty:
                return None
            raise _file_error(path, problem)
        if self.to_float32:
            image = image.astype(np.float32)
        results['img'] = image
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = image.shape[:2]
        return results

    def load_window(self, path: str, window: tuple[int, int, int, int], shape: tuple) -> np.ndarray | None:
        """A window (x, y, width, height) of a TIFF, as the whole image of `shape` (H, W) has it; None: load that."""
        if self.color_type != 'color' or self.imdecode_backend not in (None, 'cv2') or self.backend_args \
                or self.file_client_args is not None or not is_tiff(path):
            return None
        with open_tiff(path) as tiff:
            if tiff.problem is not None or (tiff.height, tiff.width) != shape:
                return None
            image = as_bgr(tiff.read(*window))
        return image.astype(np.float32) if self.to_float32 else image

    def _read(self, path: str) -> bytes:
        if self.file_client_args is not None:  # deprecated in mmcv, still accepted there
            return fileio.FileClient.infer_client(self.file_client_args, path).get(path)
        return file_content(path, self.backend_args)

    def as_annotated(self, content: bytes, image: np.ndarray, size: tuple) -> tuple[np.ndarray, str | None]:
        """(image, problem): the image upright or as stored, whichever has the annotations' `size` (H, W)."""
        if image.shape[:2] == size:
            return image, None
        if image.shape[:2] == size[::-1] and self.color_type in ('color', 'grayscale'):
            stored, _ = self.decode(content, f'{self.color_type}_ignore_orientation')
            if stored is not None and stored.shape[:2] == size:
                return stored, None
        return image, (f'the image is {image.shape[1]} × {image.shape[0]} pixels, its annotations are for '
                       f'{shown(size[1], 40)} × {shown(size[0], 40)}')

    def problem(self, content: bytes, quick: bool = True) -> str | None:
        """Problem of a file's content that shows before `decode`, see `image_problem`."""
        return image_problem(content, quick)

    def decode(self, content: bytes, flag: str | None = None) -> tuple[np.ndarray | None, str | None]:
        """(image, None) or (None, problem) of a file's content; `flag` is the loader's `color_type` by default."""
        try:
            return decoded(content, flag or self.color_type, self.imdecode_backend), None
        except DataError as e:
            return None, str(e)


def decoded(content: bytes, flag: str = 'color', backend: str | None = None) -> np.ndarray:
    """Decode an image's content with `mmcv.imfrombytes`, its header read before and compared afterwards.

    Args:
        content: of the file.
        flag, backend: as for `mmcv.imfrombytes`. Default: of colour, by mmcv's backend, OpenCV.

    Returns:
        The image, (H, W, C) or (H, W).

    Raises:
        DataError: it can't be decoded, has values that are refused (`image_formats.Header.refused`), asks for more than
            `limits.PIXELS` or more memory than there is, or turns out to be of another size than it says; without the
            file's name.
    """
    known, header = read_header(content)
    unchanged = str(flag).startswith('unchanged')
    if header.refused and backend != 'tifffile' and not unchanged:
        raise DataError(header.refused)
    if known.name == 'AVIF' and backend in (None, 'cv2'):  # OpenCV 5.0 does not turn it
        backend = _reader_of_avif(content)
    elif backend in (None, 'cv2') and header.pillow and (not unchanged or header.pillow == 'values'):
        backend = 'pillow'
    try:
        if backend == 'pillow':
            open_picture(content).close()  # which looks at the header as Pillow reads it
        elif backend == 'tifffile':
            _check_tiff(content)
        image = mmcv.imfrombytes(content, flag=flag, backend=backend)
    except DataError:
        raise
    except MemoryError:
        raise DataError(too_little_memory(header)) from None
    except Exception as error:
        if isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem:
            raise DataError(too_little_memory(header)) from None
        if problem := image_problem(content, quick=False):
            raise DataError(problem) from None
        if isinstance(error, ImportError):
            raise
        if backend in (None, 'cv2', 'pillow'):
            mmcv.imfrombytes(_GOOD, flag=flag, backend=backend)  # raises where the arguments are wrong
        raise DataError(f'imdecode_backend={backend!r} cannot decode it ({type(error).__name__}: '
                        f'{shown(error, 100)})') from None
    if image is None:
        raise DataError(image_problem(content, quick=False) or f'imdecode_backend={backend!r} cannot decode it')
    if backend != 'tifffile' and not header.fits(*image.shape[:2]):  # which has pages and bands in its shape
        raise DataError(wrong_size(*image.shape[:2]))
    return image


def _reader_of_avif(content: bytes) -> str | None:
    """The backend that turns an AVIF picture as it says; None, mmcv's, where Pillow has none and it says nothing."""
    if pillow_has('AVIF'):
        return 'pillow'
    if b'irot' in content or b'imir' in content:
        raise DataError('it is turned, and Pillow, which turns AVIF, was built without: install pillow 11.3 or newer')
    return None


def _check_tiff(content: bytes) -> None:
    """Raise DataError where tifffile, which reads all pages, would read more than is allowed."""
    import tifffile
    with tifffile.TiffFile(io.BytesIO(content)) as file:
        size = file.series[0].size
    if size > 4 * PIXELS.value:
        raise DataError(f'its pages have {size} values in all, and 4 for each of {PIXELS.value} pixels are allowed '
                        f'({PIXELS.way_out})')


def is_coordinate(value: float) -> bool:
    """Whether a number of an object's box is finite, and whole numbers of it fit into 32 bits."""
    return -2**31 < value < 2**31


class CheckedAnnotations(BaseTransform):
    """Wraps an annotation loader; if it fails on a broken segmentation map, the error names the file.

    Args:
        loader: the wrapped loader.
        labels: allowed in segmentation maps, 255 besides. None: any.

    Raises:
        DataError: the file at `results['seg_map_path']` is missing, empty, truncated, not an image, of another size
            than the image, or has labels out of range; or there are more objects, or larger masks, than `limits`
            allows.
    """

    def __init__(self, loader: BaseTransform, labels: Collection[int] | None = None):
        self.loader, self.labels = loader, labels

    def transform(self, results: dict) -> dict | None:
        path = results.get('seg_map_path') if getattr(self.loader, 'with_seg', True) else None
        if path and (problem := self._header_problem(path)):
            raise _file_error(path, problem)
        image = results.get('img_path')
        for _, problem in self.objects_problems(results):
            raise DataError(f'{image}: {problem}')
        try:
            loaded = self.loader(results)
        except MemoryError:
            raise DataError(f'{image}: there is too little memory for its annotations: '
                            f'{len(results.get("instances") or ())} objects') from None
        except Exception as e:
            local = not getattr(self.loader, 'backend_args', None)
            problem = image_problem(path, quick=False) if path and local else None
            if not problem:
                raise
            raise _file_error(path, problem) from e
        if loaded is not None and path and loaded.get('gt_seg_map') is not None:
            loaded['gt_seg_map'] = with_both_sides(loaded['gt_seg_map'], loaded.get('ori_shape'))
            problem = label_map_problem(loaded['gt_seg_map'], loaded.get('ori_shape'), self.labels, path)
            if problem:
                raise DataError(f'{path}: {problem}')
        return loaded

    def _header_problem(self, path: str) -> str | None:
        """Problem of a segmentation map that shows before it is decoded, which the loader leaves to mmcv."""
        if getattr(self.loader, 'file_client_args', None) is not None:
            return None
        try:
            content = file_content(path, getattr(self.loader, 'backend_args', None))
            stretched = stretched_labels(content, getattr(self.loader, 'imdecode_backend', None))
        except FileNotFoundError:
            return missing(path)
        except OSError as e:
            return f'the file cannot be read ({e.strerror or e})'
        except DataError as e:
            return str(e)
        if stretched:
            raise DataError(f'{path}: {stretched}')
        return None

    def objects_problems(self, results: dict) -> Iterator[tuple[str, str]]:
        """Yield (kind of problem, phrase) of an image's objects that ask for more than is allowed, or can't be decoded.

        Args:
            results: `instances`, and `ori_shape` (H, W), without which masks are not looked at.
        """
        objects, size = results.get('instances') or (), results.get('ori_shape')
        if len(objects) > OBJECTS.value:
            yield 'too many objects', (f'it has {len(objects)} objects, and {OBJECTS.value} are allowed '
                                       f'({OBJECTS.way_out})')
        for item in objects:
            if item.get('bbox') is not None and not all(map(is_coordinate, item['bbox'])):
                yield 'box not finite', f'it has an object whose box is {shown(item["bbox"], 100)}'
        if size and getattr(self.loader, 'with_mask', False) and (problem := masks_problem(
                [item['mask'] for item in objects if item.get('mask')], *size,
                as_bitmaps=getattr(self.loader, 'poly2mask', True))):
            yield 'masks', problem

    def __repr__(self) -> str:
        return repr(self.loader)


class CheckedResize(BaseTransform):
    """Wraps a toolbox's `Resize`; if less than a pixel would be left of an image, the error names its file.

    Args:
        resize: the wrapped transform. `RandomResize` and others set its scale for each image.

    Raises:
        DataError: nothing is left of the image at `results['img_path']`.
    """

    def __init__(self, resize: Resize):
        self.resize = resize

    @property
    def scale(self) -> tuple[int, int] | None:
        return self.resize.scale

    @scale.setter
    def scale(self, scale: tuple[int, int]) -> None:
        self.resize.scale = scale

    def transform(self, results: dict) -> dict | None:
        height, width = results['img'].shape[:2]
        try:
            return self.resize(results)
        except (cv2.error, ValueError) as e:
            if max(height, width) < 50 * min(height, width):
                raise
            raise DataError(
                f'{results.get("img_path")}: nothing is left of {width} × {height} pixels resized to '
                f'{results.get("scale")}. Crop or remove the image, or resize with keep_ratio=False.') from e

    def __repr__(self) -> str:
        return repr(self.resize)


def known_labels(cfg) -> range | None:
    """Labels of a segmentor's classes; 0 and 1 for a binary one (`num_classes=1`), None for other models."""
    head = (cfg.get('model') or {}).get('decode_head')
    head = head[-1] if isinstance(head, list | tuple) and head else head
    classes = head.get('num_classes') if isinstance(head, dict) else None
    return range(max(classes, 2)) if isinstance(classes, int) else None


def use_checked_loading(dataset, labels: Collection[int] | None = None, place: str = 'pipeline') -> None:
    """Replace the transforms of a built data set's pipeline by the checked ones, at any depth.

    The config stays as it is: it is written into work directories and checkpoints, where mmdet's and mmseg's
    inferencers look for the transforms' own names. A second call changes nothing.

    Args:
        dataset: of any toolbox, changed in place, as are data sets inside it (`dataset`, `datasets`).
        labels: allowed in segmentation maps, see `known_labels`. None: any.
        place: of the pipeline in the config, for messages. Default: 'pipeline'.
    """
    inner = [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or ())]
    for wrapped in inner:
        if wrapped is not None:
            use_checked_loading(wrapped, labels, place)
    pipeline = getattr(dataset, 'pipeline', None)
    if isinstance(pipeline, list | Compose | BaseTransform):
        dataset.pipeline = _checked(pipeline, labels)
        if type(pipeline) is Compose:
            dataset.pipeline = pipelines.CheckedPipeline(dataset.pipeline, place)
        elif isinstance(pipeline, list):
            pipeline[:] = [step if isinstance(step, pipelines.CheckedStep) else pipelines.CheckedStep(step, place)
                           for step in pipeline]


def _checked(part, labels: Collection[int] | None):
    """The checked form of a transform; a list, `RandomChoice` or the like with the checked forms of those inside."""
    def change(step):
        if isinstance(step, CheckedLoadImageFromFile | CheckedAnnotations | CheckedResize):
            return step
        if type(step) is LoadImageFromFile:  # not a subclass, which may read in its own way
            return CheckedLoadImageFromFile.like(step)
        if isinstance(step, LoadAnnotations):
            return CheckedAnnotations(step, labels)
        return CheckedResize(step) if isinstance(step, Resize) else None
    return map_steps(part, change)


def map_steps(part, change: Callable[[Any], Any | None]):
    """A transform, pipeline or container of these with transforms replaced by others, at any depth, in place.

    Args:
        part: its attributes and items are looked at, too.
        change: transform -> what takes its place; None: it stays, and what is inside it is changed.
    """
    if (other := change(part)) is not None:
        return other
    if isinstance(part, list):
        part[:] = [map_steps(item, change) for item in part]
    elif isinstance(part, dict):
        part.update({key: map_steps(item, change) for key, item in part.items()})
    elif isinstance(part, BaseTransform | Compose):
        for name, value in vars(part).items():
            if isinstance(value, list | dict | BaseTransform | Compose):
                setattr(part, name, map_steps(value, change))
    return part
