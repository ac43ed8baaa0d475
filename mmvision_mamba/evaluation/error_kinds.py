"""The errors of a detector by kind, and what each costs, after Bolya et al., TIDE (ECCV 2020). NumPy alone."""
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .detection_matches import Found, ImageDetections, match

RIGHT, LEFT_OUT = 'right', 'left out'
KINDS = {  # what is wrong, in the order of the paper
    'class': 'in the right place, of another class',
    'location': 'of the right class, in the wrong place: IoU 0.1 to 0.5',
    'both': 'of another class and in the wrong place',
    'duplicate': 'a second detection of an object',
    'background': 'where nothing is: IoU below 0.1',
    'missed': 'an object that no detection is near',
}
MATCHED, NEAR = 0.5, 0.1  # IoU of a match, and of a detection that means an object


@dataclass
class Errors:
    """What a detector does wrong, at an IoU of 0.5.

    Attributes:
        counts: {kind: `(classes,)`}: detections by their own class, missed objects by theirs.
        costs: {kind: `(classes,)`}: what each class's AP at IoU 0.5, in [0, 1], gains without these errors; NaN for a
            class without objects.
        kinds: of the detections of each image, in their order: one of `KINDS`, `RIGHT` or `LEFT_OUT`.
        missed: bool, of the objects of each image.
    """
    counts: dict[str, np.ndarray]
    costs: dict[str, np.ndarray]
    kinds: list[np.ndarray]
    missed: list[np.ndarray]

    def mean_costs(self) -> dict[str, float]:
        """What the mean AP gains without a kind of errors; 0 without objects."""
        return {kind: float(np.nanmean(costs)) if np.isfinite(costs).any() else 0.
                for kind, costs in self.costs.items()}


def find_errors(images: Sequence[ImageDetections], classes: int) -> Errors:
    """Tell the kind of each error, and what it would bring to be without those of a kind, one kind at a time.

    A detection of the wrong class, or in the wrong place, is mended where its object is not found otherwise and no
    better one means the same; else it is taken away, as those of the other kinds are. Missed objects are those that no
    such detection means; without them there are fewer objects.
    """
    parts = [_of_image(image) for image in images]
    kinds, meant, missed = ([part[i] for part in parts] for i in range(3))
    every = np.concatenate([np.zeros(0, object), *kinds])
    labels = np.concatenate([np.zeros(0, np.int64), *(image.labels for image in images)])
    scores = np.concatenate([np.zeros(0), *(image.scores for image in images)])
    meant_labels = np.concatenate([np.zeros(0, np.int64), *(
        np.append(image.true_labels, -1)[of_image] for image, of_image in zip(images, meant))])
    missed_labels = np.concatenate([np.zeros(0, np.int64), *(
        image.true_labels[of_image] for image, of_image in zip(images, missed))])
    numbers = sum((np.bincount(image.true_labels[~image.crowd], minlength=classes) for image in images),
                  np.zeros(classes, np.int64))
    counted = every != LEFT_OUT

    def precisions(kept, labels, right, numbers):
        kept = kept & counted
        return Found.sort(labels[kept], scores[kept], right[None, kept], np.zeros((1, kept.sum()), bool),
                          numbers).average_precisions()[0]

    right, anything = every == RIGHT, np.ones(len(every), bool)
    base = precisions(anything, labels, right, numbers)
    counts, costs = {}, {}
    for kind in KINDS:
        if kind == 'missed':
            counts[kind] = np.bincount(missed_labels, minlength=classes)
            fixed = precisions(anything, labels, right, numbers - counts[kind])
            fixed = np.where(np.isnan(fixed), 1, fixed)  # all of a class's objects are missed
        else:
            of_kind = every == kind
            counts[kind] = np.bincount(labels[of_kind], minlength=classes)
            mended = of_kind & (meant_labels >= 0) if kind in ('class', 'location') else ~anything
            fixed = precisions(~of_kind | mended, np.where(mended, meant_labels, labels), right | mended, numbers)
        costs[kind] = np.where(numbers > 0, fixed - base, np.nan)
    return Errors(counts, costs, kinds, missed)


def _of_image(image: ImageDetections) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(kind of each detection; the object that it would find if it were mended, or -1; whether an object is missed)."""
    (found,), (out,) = match(image, [MATCHED])
    n, real = len(found), np.flatnonzero(~image.crowd)
    kinds, meant = np.full(n, 'background', object), np.full(n, -1)
    used = np.zeros(len(image.crowd), bool)
    used[found[(found >= 0) & ~out]] = True
    if len(real) and n:
        overlaps = image.overlaps[:, real]
        same = image.labels[:, None] == image.true_labels[real]
        of_class, of_other = np.where(same, overlaps, 0), np.where(same, 0, overlaps)
        taken = np.where(same & used[real], overlaps, 0)
        near, other = of_class.max(axis=1), of_other.max(axis=1)
        kinds[:] = np.select(
            [(near >= NEAR) & (near <= MATCHED), other >= MATCHED, taken.max(axis=1) >= MATCHED,
             overlaps.max(axis=1) <= NEAR], ['location', 'class', 'duplicate', 'background'], 'both')
        meant = np.select([kinds == 'location', kinds == 'class'],
                          [real[of_class.argmax(axis=1)], real[of_other.argmax(axis=1)]], -1)
    kinds[found >= 0] = RIGHT
    kinds[out] = LEFT_OUT
    meant[(kinds != 'location') & (kinds != 'class')] = -1
    is_meant = np.zeros(len(image.crowd), bool)
    for d in np.flatnonzero(meant >= 0):  # the highest score first
        if used[meant[d]] or is_meant[meant[d]]:
            meant[d] = -1
        else:
            is_meant[meant[d]] = True
    return kinds, meant, ~(used | is_meant | image.crowd)
