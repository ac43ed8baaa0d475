"""Segmentation maps drawn from objects' outlines."""
from collections.abc import Iterable, Sequence

import numpy as np
from pycocotools import mask as coco_mask

from ..errors import DataError
from .class_names import background_of
from .coco_masks import mask_area, mask_extent, masks_problem
from .cutting import Window, corners_of, cropped, meeting

_MOST = 255  # classes of a map: the number behind them is that of pixels without a label


def classes_of_maps(names: Iterable[str]) -> tuple[str, ...]:
    """The classes of maps on which objects of these classes are drawn: first that of pixels that no object covers.

    That is the one of these that `is_background` knows, or 'background'.

    Raises:
        DataError: there are more than 255.
    """
    names = list(names)
    background = background_of(names)
    classes = (background, *(name for name in names if name != background))
    if len(classes) > _MOST:
        raise DataError(f'there are {len(classes)} classes with the background, and maps have numbers for {_MOST}: '
                        'leave some out')
    return classes


def drawn_order(objects: Iterable[tuple[int, dict]]) -> list[tuple[int, list | dict]]:
    """(label, segmentation) of (label, COCO annotation), the largest first, so that smaller ones stay visible.

    Crowds and objects without a segmentation are left out.
    """
    shapes = [(-(mask_area(annotation['segmentation']) or annotation.get('area') or 0), label,
               annotation['segmentation']) for label, annotation in objects
              if annotation.get('segmentation') and not annotation.get('iscrowd')]
    return [shape[1:] for shape in sorted(shapes, key=lambda shape: shape[0])]


def draw(shapes: Sequence[tuple[int, list | dict]], height: int, width: int, window: Window | None = None,
         uncovered: int = 0) -> np.ndarray:
    """Labels (H, W), uint8: each (label, COCO segmentation) over those before it, `uncovered` where there is none.

    Args:
        shapes: of a picture.
        height, width: of it.
        window: (x, y, width, height) of the part to draw, the same pixels as in the whole. Default: all.

    Raises:
        DataError: one can't be decoded, or is too large for `limits`; without the file's name.
    """
    if problem := masks_problem([mask for _, mask in shapes], height, width, as_bitmaps=False):
        raise DataError(problem)
    _, _, wide, high = window or (0, 0, width, height)
    seg_map = np.full((high, wide), uncovered, np.uint8)
    for label, mask in shapes:
        if window and not windows_met(mask, corners_of([window])):
            continue
        if isinstance(mask, list):
            polygons = [polygon for polygon in mask if len(polygon) >= 6 and len(polygon) % 2 == 0]
            if not polygons:
                continue
            mask = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        elif isinstance(mask['counts'], list):
            mask = coco_mask.frPyObjects(mask, height, width)
        if window and not (mask := cropped(mask, window)):
            continue
        seg_map[coco_mask.decode(mask).astype(bool)] = label
    return seg_map


def windows_met(mask: list | dict, corners: np.ndarray) -> list[int]:
    """The indices of the windows, see `cutting.corners_of`, that a segmentation may have pixels in: its extent, with a
    pixel around, does."""
    if (extent := mask_extent(mask)) is None:
        return [*range(len(corners))]
    x, y, width, height = extent
    return meeting((x - 1, y - 1, x + width + 1, y + height + 1), corners)
