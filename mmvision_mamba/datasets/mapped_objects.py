"""Objects made of segmentation maps: the connected areas of each class."""
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from ..errors import DataError
from ..printable import shown
from .instance_maps import instances_of

_UNLABELLED = 255


def content_of_maps(images: Sequence[dict], classes: Sequence[str], background: int | None,
                    load_map: Callable[[Any], np.ndarray], lost: Counter) -> dict:
    """The content of a COCO annotation file with an object for each connected area of a class, diagonals included.

    Args:
        images: items of `images`, with `id`, `file_name`, `width` and `height`.
        classes: in the order of the maps' labels; 255 is no label.
        background: the label of what is no object. None: none is.
        load_map: gives labels (H, W), uint8, for an image's id.
        lost: counts pixels without a label, {what: how often}.

    Raises:
        DataError: a map can't be loaded, has another size, or more areas than `limits` allows; names the file.
    """
    content: dict = dict(images=list(images), annotations=[], categories=[
        dict(id=label, name=name) for label, name in enumerate(classes) if label != background])
    for image in images:
        labels = load_map(image['id'])
        try:
            for instance in instances_of(_areas(labels, background), labels):
                content['annotations'].append(dict(
                    id=len(content['annotations']) + 1, image_id=image['id'], category_id=next(iter(instance.labels)),
                    bbox=instance.box, area=instance.area, segmentation=instance.mask, iscrowd=0))
        except DataError as error:
            raise DataError(f'{shown(image["file_name"])}: its mask: {error}') from error
        lost['pixels without a label, which are of no object'] += int(np.count_nonzero(labels == _UNLABELLED))
    return content


def _areas(labels: np.ndarray, background: int | None) -> np.ndarray:
    """The number of each pixel's connected area of one label, (H, W), from 1; 0 for the background and no label."""
    numbers, count = np.zeros(labels.shape, np.int32), 0
    for label in np.flatnonzero(cv2.calcHist([labels], [0], None, [256], [0, 256])).tolist():
        if label in (background, _UNLABELLED):
            continue
        found, areas = cv2.connectedComponents((labels == label).view(np.uint8), connectivity=8)
        np.add(areas, count, out=numbers, where=areas > 0)
        count += found - 1
    return numbers
