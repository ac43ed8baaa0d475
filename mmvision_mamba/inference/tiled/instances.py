"""Instances of a picture of any size: their masks are cropped, run-length encoded, and placed by an offset."""
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from ...datasets.coco_masks import rle_problem
from ...datasets.json_numbers import is_integer, is_number
from ...errors import DataError
from ..results import boxes_of

Window = tuple[int, int, int, int]  # x, y, width, height


class Mask(NamedTuple):
    """A mask's smallest rectangle of pixels, and where it lies.

    Attributes:
        x, y: of its upper left pixel in the picture.
        height, width: of the rectangle; 0 of an empty mask.
        counts: COCO's compressed run-length encoding.
    """
    x: int
    y: int
    height: int
    width: int
    counts: str

    @classmethod
    def of(cls, pixels: np.ndarray, x: int = 0, y: int = 0) -> 'Mask':
        """The mask of ``(H, W)`` bool whose upper left pixel lies at (x, y)."""
        rows, columns = np.flatnonzero(pixels.any(1)), np.flatnonzero(pixels.any(0))
        if not len(rows):
            return cls(x, y, 0, 0, '')
        crop = pixels[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
        code = coco_mask.encode(np.asfortranarray(crop, np.uint8))
        return cls(x + int(columns[0]), y + int(rows[0]), *crop.shape, code['counts'].decode())

    def pixels(self) -> np.ndarray:
        """The rectangle, bool ``(height, width)``."""
        if not self.counts:
            return np.zeros((self.height, self.width), bool)
        return coco_mask.decode(dict(size=[self.height, self.width], counts=self.counts.encode())).astype(bool)

    def in_picture(self, height: int, width: int) -> dict:
        """COCO's compressed run-length encoding of the mask in its picture, JSON-ready; the picture is never made.

        Raises:
            DataError: see `check_size`.
        """
        check_size(height, width)
        padded = np.zeros((self.width, self.height + 2), np.int8)  # columns first, as COCO counts
        padded[:, 1:-1] = self.pixels().T
        changes = np.diff(padded, axis=1)
        offset = self.x * height + self.y
        starts, ends = ((columns * height + rows + offset) for columns, rows in
                        (np.nonzero(changes == 1), np.nonzero(changes == -1)))
        joined = starts[1:] == ends[:-1]  # from the last row of a column to the first of the next
        edges = np.stack([starts[np.r_[True, ~joined]], ends[np.r_[~joined, True]]], 1).ravel() if len(starts) else []
        counts = np.diff(np.r_[0, np.asarray(edges, np.int64), height * width]).tolist()
        counts = counts[:-1] if counts[-1] == 0 else counts
        code = coco_mask.frPyObjects(dict(size=[height, width], counts=counts), height, width)
        return dict(size=[height, width], counts=code['counts'].decode())


def check_size(height: int, width: int) -> None:
    """Raise DataError for a picture with 2³² pixels or more: COCO's format has no run as long."""
    if height * width >= 2**32:
        raise DataError(f"a picture of {width} × {height} pixels has no masks in COCO's encoding, which counts to 2³²: "
                        'cut it in parts')


@dataclass(frozen=True)
class Instance:
    """An object found in a window of a picture.

    Args:
        label, score: as the model gives them.
        box: (x1, y1, x2, y2) in the picture.
        window: in which it was found; instances of one window are different objects.
        mask: None: the model predicts none.
        mask_score: None: the model predicts none.
        scale: by which the window, the whole picture then, was reduced, and the mask is. Default: 1.
    """
    label: int
    score: float
    box: tuple[float, float, float, float]
    window: Window
    mask: Mask | None = None
    mask_score: float | None = None
    scale: int = 1

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """(x1, y1, x2, y2) of the mask in the picture; of a reduced one, maybe beyond its right and lower end."""
        x, y, height, width, _ = self.mask  # type: ignore[misc]
        return x * self.scale, y * self.scale, (x + width) * self.scale, (y + height) * self.scale

    def pixels_in(self, pixels: np.ndarray, x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
        """The part ``(y2 - y1, x2 - x1)`` of the mask in a rectangle of the picture that lies in its bounds.

        Args:
            pixels: the mask's, decoded.
            x1, y1, x2, y2: the rectangle.
        """
        left, top, scale = self.bounds[0], self.bounds[1], self.scale
        x1, y1, x2, y2 = x1 - left, y1 - top, x2 - left, y2 - top
        if scale > 1:
            pixels = pixels[y1 // scale:-(-y2 // scale), x1 // scale:-(-x2 // scale)].repeat(scale, 0).repeat(scale, 1)
            x1, y1, x2, y2 = x1 % scale, y1 % scale, x2 - x1 // scale * scale, y2 - y1 // scale * scale
        return pixels[y1:y2, x1:x2]

    def to_json(self) -> list:
        return [self.label, self.score, self.box, self.window, self.mask, self.mask_score, self.scale]

    @classmethod
    def from_json(cls, values: list) -> 'Instance':
        label, score, box, window, mask, mask_score, scale = values
        return cls(label, score, tuple(box), tuple(window), mask and Mask(*mask), mask_score, scale)

    def fits(self, classes: int, height: int, width: int) -> bool:
        """Whether it can be an object in a picture of this size; `from_json` takes whatever a file says."""
        mask = self.mask or ()
        numbers = [self.score, *self.box, *([] if self.mask_score is None else [self.mask_score])]
        places = [self.label, self.scale, *self.window, *mask[:4]]
        if len(self.box) != 4 or len(self.window) != 4 or not all(map(is_number, numbers)) \
                or not all(is_integer(value) and value >= 0 for value in places) or self.label >= classes \
                or self.scale < 1:
            return False
        if self.mask is None:
            return True
        x, y, rows, columns, counts = self.mask
        return isinstance(counts, str) and y + rows <= -(-height // self.scale) and x + columns <= -(
            -width // self.scale) and (not counts or rle_problem(
                dict(size=[rows, columns], counts=counts), columns, rows) is None)


def instances_of(predicted: Any, window: Window, scale: int = 1) -> list[Instance]:
    """The instances that a model predicted in a window.

    Args:
        predicted: mmdet's `pred_instances`, in the window's own pixels, which are `scale` of the picture each.
        window: (x, y, width, height) in the picture; where `scale` isn't 1, all of it.
        scale: see above. Default: 1.
    """
    x, y, _, _ = window
    boxes = boxes_of(predicted).double() * scale
    boxes = (boxes + boxes.new_tensor([x, y, x, y])).tolist()
    masks: Sequence[Mask | None] = [None] * len(boxes)
    if 'masks' in predicted:
        masks = [Mask.of(np.asarray(pixels), x, y) for pixels in predicted.masks]
    scores = predicted.mask_scores.tolist() if 'mask_scores' in predicted else [None] * len(boxes)
    return [Instance(*values, window, mask, mask_score, scale) for *values, mask, mask_score in zip(
        predicted.labels.tolist(), predicted.scores.tolist(), map(tuple, boxes), masks, scores)]


def coco_results(instances: Sequence[Instance], image_id: int | str, categories: Sequence[dict], height: int,
                 width: int) -> list[dict]:
    """Instances as COCO results, as `results.coco_results` makes them of a model's prediction."""
    found = []
    for instance in instances:
        x1, y1, x2, y2 = instance.box
        result = dict(image_id=image_id, category_id=categories[instance.label]['id'], bbox=[x1, y1, x2 - x1, y2 - y1],
                      score=instance.score)
        if instance.mask is not None:
            result['segmentation'] = instance.mask.in_picture(height, width)
        if instance.mask_score is not None:
            result['mask_score'] = instance.mask_score
        found.append(result)
    return found
