"""Loading transforms that give a tile of a picture: its window of a TIFF, or a part of the whole, decoded before."""
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from mmcv.transforms import BaseTransform, LoadAnnotations, LoadImageFromFile

from ..errors import DataError
from .image_files import label_map_problem, open_file_picture, with_both_sides
from .image_sizes import picture_sizes, tiff_sizes
from .loading import CheckedAnnotations, CheckedLoadImageFromFile, map_steps
from .tiff_windows import is_tiff, open_tiff

KEPT = 2**28  # bytes of decoded pictures that a process keeps for the next tiles


class Decoded:
    """Pictures decoded last, up to `KEPT` bytes, or a single larger one."""

    def __init__(self) -> None:
        self._arrays: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()

    def __reduce__(self):
        return type(self), ()  # a process that is started anew decodes for itself

    def clear(self) -> None:
        self._arrays.clear()

    def get(self, kind: str, path: str, decode: Callable[[], np.ndarray | None]) -> np.ndarray | None:
        """The array of a kind that a file holds; must not be changed. None, of which nothing is kept, is `decode`'s."""
        key = kind, path
        if key not in self._arrays:
            if (array := decode()) is None:
                return None
            self._arrays[key] = array
        self._arrays.move_to_end(key)
        kept = sum(array.nbytes for array in self._arrays.values())
        while len(self._arrays) > 1 and kept > KEPT:
            kept -= self._arrays.popitem(last=False)[1].nbytes
        return self._arrays[key]


class LoadTile(BaseTransform):
    """Wraps a loader of images; of an item with a `tile`, (x, y, width, height), it gives that part of the picture.

    A loader with a method `load_window(path, window, picture_shape)` is asked for it first, as
    `CheckedLoadImageFromFile` is; where that returns None the picture is decoded as a whole, and kept for other tiles.

    Args:
        step: the wrapped loader.
        decoded: where pictures are kept.

    Raises:
        DataError: see the loader; or the picture has another size than `picture_shape`, (height, width).
    """

    def __init__(self, step: BaseTransform, decoded: Decoded):
        self.step, self.decoded = step, decoded

    def transform(self, results: dict) -> dict | None:
        if (window := results.get('tile')) is None:
            return self.step(results)
        path, shape, (x, y, width, height) = results['img_path'], results['picture_shape'], window
        load_window = getattr(self.step, 'load_window', None)
        image = load_window(path, window, shape) if load_window else None
        if image is None:
            whole = self.decoded.get('image', path, lambda: self.whole(results))
            if whole is None:
                return None
            _check_shape(path, 'image', whole, shape)
            image = whole[y:y + height, x:x + width].copy()
        results['img'] = image
        results['img_shape'] = results['ori_shape'] = image.shape[:2]
        return results

    def whole(self, results: dict) -> np.ndarray | None:
        """The picture of an item, of its `picture_shape`; None where the loader has none, as with `ignore_empty`."""
        item = dict(img_path=results['img_path'])
        # An image may be turned as its annotations say; see `annotated_size`.
        if 'instances' in results or results.get('shapes') is not None:
            item.update(instances=[None], height=results['picture_shape'][0], width=results['picture_shape'][1])
        if (loaded := self.step(item)) is None:
            return None
        _check_shape(item['img_path'], 'image', loaded['img'], results['picture_shape'])
        return loaded['img']

    def __repr__(self) -> str:
        return repr(self.step)


class LoadTileMap(BaseTransform):
    """Wraps a loader of annotations; of an item with a `tile` and a map in a file, it gives that part of the map.

    Args:
        step: the wrapped loader; objects and outlines it finds cut to the tile, or cuts them.
        decoded: where maps are kept.

    Raises:
        DataError: see the loader; or the map has another size than `picture_shape`, (height, width).
    """

    def __init__(self, step: BaseTransform, decoded: Decoded):
        self.step, self.decoded = step, decoded

    def transform(self, results: dict) -> dict | None:
        if results.get('tile') is None or not results.get('seg_map_path'):
            return self.step(results)
        results['gt_seg_map'] = self.labels(results)
        results['seg_fields'].append('gt_seg_map')
        return results

    def labels(self, results: dict) -> np.ndarray:
        """The labels ``(height, width)`` of a tile."""
        (x, y, width, height), path, shape = results['tile'], results['seg_map_path'], results['picture_shape']
        if (found := self._window(results)) is not None:
            return found
        whole = self.decoded.get('map', path, lambda: with_both_sides(self.step(dict(
            results, tile=None, ori_shape=shape, seg_fields=[]))['gt_seg_map'], shape))
        _check_shape(path, 'segmentation map', whole, shape)
        return whole[y:y + height, x:x + width].copy()

    def _window(self, results: dict) -> np.ndarray | None:
        """The labels of a TIFF of 8 bits, read by windows; None: the map must be loaded as a whole."""
        path, (height, width) = results['seg_map_path'], results['picture_shape']
        if results.get('colours') or getattr(self.step, 'backend_args', None) or not is_tiff(path):
            return None
        with open_tiff(path) as tiff:
            if tiff.problem is not None or (tiff.height, tiff.width) != (height, width):
                return None
            values = tiff.read(*results['tile'])
        if values.dtype != np.uint8 or values.shape[2] != 1:
            return None
        labels = _label_of_values(results)[values[..., 0]]
        if problem := label_map_problem(labels, labels.shape, getattr(self.step, 'labels', None)):
            raise DataError(f'{path}: {problem}')
        return labels

    def __repr__(self) -> str:
        return repr(self.step)


def _check_shape(path: str, what: str, array: np.ndarray, shape: tuple[int, int]) -> None:
    """Raise DataError for an image or a map of another shape than tiles were cut for, (height, width)."""
    if array.shape[:2] != tuple(shape):
        size = ' × '.join(map(str, array.shape[1::-1]))
        raise DataError(f'{path}: the {what} is {size} pixels, its tiles are for {shape[1]} × {shape[0]}')


def _label_of_values(results: dict) -> np.ndarray:
    """The label of each value of 8 bits, as mmseg's `LoadAnnotations` has it: 0 counts as 255 where it is no class,
    then what `label_map` says."""
    labels = np.arange(256)
    if results.get('reduce_zero_label'):
        labels = np.r_[255, labels[:254], 255]
    renamed = results.get('label_map') or {}
    return np.array([renamed.get(label, label) for label in labels.tolist()], np.uint8)


def shape_of(info: dict, loader: LoadTile | None = None) -> tuple[int, int]:
    """(height, width) of an item's picture, as its annotations have it, or its header and the loader.

    Raises:
        DataError: it can't be read.
    """
    if info.get('height') and info.get('width'):
        return int(info['height']), int(info['width'])
    path = info['img_path']
    if is_tiff(path):
        with open_tiff(path) as tiff:
            if tiff.problem is None:
                return tiff.height, tiff.width
    try:
        with open_file_picture(path) as image:
            sizes = picture_sizes(image)
    except Exception as error:  # Pillow may raise anything, and knows few bands
        if (sizes := tiff_sizes(path)) is None:
            raise DataError(f'{path}: its size can not be read ({error})') from error
    turns = getattr(loader and loader.step, 'color_type', 'color') in ('color', 'grayscale')
    return (sizes.upright if turns else sizes.stored)[::-1]


def use_tile_loading(pipeline, decoded: Decoded):
    """A pipeline whose loaders, at any depth, give tiles; those that do already stay."""
    def change(step):
        if isinstance(step, LoadTile | LoadTileMap):
            return step
        if type(step) is LoadImageFromFile:
            step = CheckedLoadImageFromFile.like(step)
        if isinstance(step, LoadImageFromFile) or hasattr(step, 'load_window'):
            return LoadTile(step, decoded)
        return LoadTileMap(step, decoded) if isinstance(step, LoadAnnotations | CheckedAnnotations) else None
    return map_steps(pipeline, change)
