"""Detections matched with objects, and average precision from these matches, as COCO defines both. NumPy alone."""
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RECALLS = np.linspace(0, 1, 101)  # where COCO reads precision
THRESHOLDS = np.linspace(0.5, 0.95, 10)  # of the IoU, over which COCO averages
SIZES = {'small': (0, 32**2), 'medium': (32**2, 96**2), 'large': (96**2, math.inf)}  # pixels of an object, COCO's


@dataclass
class ImageDetections:
    """The detections and objects of an image, and how they overlap.

    Attributes:
        labels, scores: `(n,)`, of detections, the highest score first.
        areas: `(n,)`, their pixels.
        true_labels, true_areas: `(m,)`, of objects.
        crowd: bool `(m,)`: objects that are neither found nor missed.
        overlaps: `(n, m)`, IoUs; with crowds the share of the detection that lies on them.
        unjudged: bool `(n,)`: detections that are not wrong where they have no object, as the image was not searched
            for their class, see `federated`. Default: none.
    """
    labels: np.ndarray
    scores: np.ndarray
    areas: np.ndarray
    true_labels: np.ndarray
    true_areas: np.ndarray
    crowd: np.ndarray
    overlaps: np.ndarray
    unjudged: np.ndarray | None = None


@dataclass
class Found:
    """The detections of all images by class, each class by falling score.

    Attributes:
        labels, scores: `(n,)`.
        right: bool `(thresholds, n)`: matched with an object.
        left_out: bool `(thresholds, n)`: neither right nor wrong, as on crowds.
        numbers: `(classes,)`, of objects that count.
    """
    labels: np.ndarray
    scores: np.ndarray
    right: np.ndarray
    left_out: np.ndarray
    numbers: np.ndarray

    @classmethod
    def sort(cls, labels: np.ndarray, scores: np.ndarray, right: np.ndarray, left_out: np.ndarray,
             numbers: np.ndarray) -> 'Found':
        """From detections in any order; equal scores stay in theirs."""
        order = np.lexsort((-scores, labels))
        return cls(labels[order], scores[order], right[:, order], left_out[:, order], numbers)

    def of_class(self, label: int) -> slice:
        """Where the detections of a class stand."""
        return slice(*np.searchsorted(self.labels, [label, label + 1]).tolist())

    def average_precisions(self) -> np.ndarray:
        """`(thresholds, classes)`; NaN for a class without objects."""
        values = np.full((len(self.right), len(self.numbers)), np.nan)
        for label, number in enumerate(self.numbers):
            part = self.of_class(label)
            for t in range(len(self.right)):
                values[t, label] = average_precision(self.right[t, part][~self.left_out[t, part]], number)
        return values


def average_precision(right: np.ndarray, number: int) -> float:
    """COCO's average precision of one class: the mean of the precision at 101 recalls.

    Args:
        right: bool `(n,)`, whether a detection is right, by falling score.
        number: of objects; NaN is returned where there are none.
    """
    if not number:
        return math.nan
    hits = np.cumsum(right)
    precision = np.maximum.accumulate((hits / np.arange(1, len(hits) + 1))[::-1])[::-1]
    at = np.searchsorted(hits / number, RECALLS)
    return float(np.where(at < len(hits), np.append(precision, 0)[np.minimum(at, len(hits))], 0).mean())


def match(image: ImageDetections, thresholds: Sequence[float], sizes: tuple[float, float] = (0, math.inf)) -> tuple[
        np.ndarray, np.ndarray]:
    """Match the detections of an image with objects of their class, the highest score first, as pycocotools does.

    Args:
        image: its detections.
        thresholds: least IoUs of a match.
        sizes: least and most pixels of objects that count. Default: all do.

    Returns:
        `(thresholds, n)`: the object of each detection, or -1; and whether it is left out, neither right nor wrong.
    """
    least = np.minimum(np.asarray(thresholds, float), 1 - 1e-10)[:, None]
    ignored = image.crowd | (image.true_areas < sizes[0]) | (image.true_areas > sizes[1])
    found = np.full((len(least), len(image.labels)), -1)
    taken = np.zeros((len(least), len(ignored)), bool)
    near = (image.labels[:, None] == image.true_labels) & (image.overlaps >= least.min())
    for d in np.flatnonzero(near.any(axis=1)):
        objects = np.flatnonzero(near[d])
        overlaps = image.overlaps[d, objects].astype(float)
        free = (overlaps >= least) & (~taken[:, objects] | image.crowd[objects])
        counted = free & ~ignored[objects]
        free = np.where(counted.any(axis=1, keepdims=True), counted, free)
        best = len(objects) - 1 - np.where(free, overlaps, -1)[:, ::-1].argmax(axis=1)  # of equals the last
        rows = np.flatnonzero(free.any(axis=1))
        found[rows, d] = objects[best[rows]]
        taken[rows, objects[best[rows]]] = True
    outside = (image.areas < sizes[0]) | (image.areas > sizes[1])
    if image.unjudged is not None:
        outside |= image.unjudged
    left_out = np.where(found >= 0, ignored[found] if len(ignored) else False, outside)
    return found, left_out


def gather(images: Sequence[ImageDetections], classes: int, thresholds: Sequence[float] = THRESHOLDS,
           sizes: tuple[float, float] = (0, math.inf)) -> Found:
    """The matched detections of all images, see `match`."""
    numbers = np.zeros(classes, np.int64)
    labels, scores = [np.zeros(0, np.int64)], [np.zeros(0)]
    right, left_out = ([np.zeros((len(thresholds), 0), bool)] for _ in range(2))
    for image in images:
        found, out = match(image, thresholds, sizes)
        counted = ~image.crowd & (image.true_areas >= sizes[0]) & (image.true_areas <= sizes[1])
        numbers += np.bincount(image.true_labels[counted], minlength=classes)
        labels.append(image.labels)
        scores.append(image.scores)
        right.append((found >= 0) & ~out)
        left_out.append(out)
    return Found.sort(np.concatenate(labels), np.concatenate(scores), np.concatenate(right, axis=1),
                      np.concatenate(left_out, axis=1), numbers)
