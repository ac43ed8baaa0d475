"""Panoptic quality of segmentations, after Kirillov et al., Panoptic Segmentation (CVPR 2019). NumPy alone."""
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np


class Counts(NamedTuple):
    """What one class adds up to over images: the sum of its matches' IoUs, and numbers of segments."""

    iou: float = 0.
    matched: int = 0  # true positives
    false: int = 0  # predicted segments without a match
    missed: int = 0  # true segments without a match

    def __add__(self, other: 'Counts') -> 'Counts':  # type: ignore[override]
        return Counts(*(a + b for a, b in zip(self, other, strict=True)))

    @property
    def total(self) -> float:
        """Matched segments, and half of those without a match; 0 for a class that is neither there nor predicted."""
        return self.matched + self.false / 2 + self.missed / 2

    def quality(self) -> dict[str, float]:
        """'pq' = 'sq' · 'rq': panoptic, segmentation and recognition quality, from 0 to 1; NaN without segments."""
        if not self.total:
            return dict.fromkeys(('pq', 'sq', 'rq'), float('nan'))
        return dict(pq=self.iou / self.total, sq=self.iou / self.matched if self.matched else 0.,
                    rq=self.matched / self.total)


def count_segments(truth: np.ndarray, true_segments: Mapping[int, tuple[int, bool]], predicted: np.ndarray,
                   predicted_segments: Mapping[int, int]) -> dict[int, Counts]:
    """Match the segments of an image: those of one class whose IoU is over one half.

    Pixels of no true segment are void: they do not count in the union of a predicted segment, and one that lies on void
    and on crowds of its class by more than half counts as nothing. Crowds are neither matched nor missed.

    Args:
        truth: segment ids `(H, W)`, from 0 to 2³¹ - 1; those that `true_segments` lacks are void.
        true_segments: {id: (class, whether it is a crowd)}.
        predicted: segment ids `(H, W)`, likewise.
        predicted_segments: {id: class}.

    Returns:
        {class: counts} of the classes that the image has, or is predicted to have.
    """
    pairs, areas = np.unique(truth.astype(np.int64) << 32 | predicted.astype(np.int64), return_counts=True)
    overlaps: Counter = Counter()  # (true, predicted): pixels; None is void
    for pair, area in zip(pairs.tolist(), areas.tolist()):
        true_id, predicted_id = pair >> 32, pair & 0xffffffff
        overlaps[true_id if true_id in true_segments else None,
                 predicted_id if predicted_id in predicted_segments else None] += area
    true_areas, predicted_areas, uncounted = Counter(), Counter(), Counter()
    for (true_id, predicted_id), area in overlaps.items():
        true_areas[true_id] += area
        predicted_areas[predicted_id] += area
        if predicted_id is not None and (true_id is None or true_segments[true_id] == (
                predicted_segments[predicted_id], True)):
            uncounted[predicted_id] += area

    found: defaultdict[int, Counts] = defaultdict(Counts)
    matched = set()
    for (true_id, predicted_id), area in overlaps.items():
        if true_id is None or predicted_id is None or \
                true_segments[true_id] != (predicted_segments[predicted_id], False):
            continue
        union = true_areas[true_id] + predicted_areas[predicted_id] - area - overlaps[None, predicted_id]
        if 2 * area > union:  # at most one on either side can be
            matched |= {('true', true_id), ('predicted', predicted_id)}
            found[predicted_segments[predicted_id]] += Counts(iou=area / union, matched=1)
    for true_id, (label, crowd) in true_segments.items():
        if not crowd and ('true', true_id) not in matched and true_areas[true_id]:
            found[label] += Counts(missed=1)
    for predicted_id, label in predicted_segments.items():
        area = predicted_areas[predicted_id]
        if area and ('predicted', predicted_id) not in matched and 2 * uncounted[predicted_id] <= area:
            found[label] += Counts(false=1)
    return dict(found)


def mean_quality(counts: Mapping[int, Counts], classes: Collection[int]) -> dict[str, float]:
    """Means of 'pq', 'sq' and 'rq' over those of `classes` that are there or predicted, and their number 'n'; NaN if
    none is."""
    qualities = [counts[label].quality() for label in classes if label in counts and counts[label].total]
    return dict({name: float(np.mean([quality[name] for quality in qualities])) if qualities else float('nan')
                 for name in ('pq', 'sq', 'rq')}, n=len(qualities))
