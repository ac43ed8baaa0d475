"""Segmentation maps drawn from objects' outlines."""
from collections.abc import Iterable, Sequence

import numpy as np
from pycocotools import mask as coco_mask

from ..errors import DataError
from .coco_masks import mask_area, masks_problem

BACKGROUND = 'background'
_MOST = 255  # classes of a map: the number behind them is that of pixels without a label


def classes_of_maps(names: Iterable[str]) -> tuple[str, ...]:
    """The classes of maps on which objects of these classes are drawn: first that of pixels that no object covers.

    Raises:
        DataError: there are more than 255.
    """
    classes = (BACKGROUND, *(name for name in names if name != BACKGROUND))
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


def draw(shapes: Sequence[tuple[int, list | dict]], height: int, width: int) -> np.ndarray:
    """Labels (H, W), uint8: each (label, COCO segmentation) over those before it, 0 where there is none.

    Raises:
        DataError: one can't be decoded, or is too large for `limits`; without the file's name.
    """
    if problem := masks_problem([mask for _, mask in shapes], height, width, as_bitmaps=False):
        raise DataError(problem)
    seg_map = np.zeros((height, width), np.uint8)
    for label, mask in shapes:
        if isinstance(mask, list):
            polygons = [polygon for polygon in mask if len(polygon) >= 6 and len(polygon) % 2 == 0]
            if not polygons:
                continue
            mask = coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))
        elif isinstance(mask['counts'], list):
            mask = coco_mask.frPyObjects(mask, height, width)
        seg_map[coco_mask.decode(mask).astype(bool)] = label
    return seg_map
