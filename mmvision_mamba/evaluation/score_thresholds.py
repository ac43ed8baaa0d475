"""Precision, recall and F1 over the score threshold, and the threshold of the best F1. NumPy alone."""
from dataclasses import dataclass

import numpy as np

from .detection_matches import Found

GRID = np.linspace(0, 1, 101)  # thresholds at which curves are given


@dataclass
class AtThreshold:
    """What is found above a score: the best F1, where `f1` is it.

    Attributes:
        score_thr: the threshold; no score equals it.
        precision, recall, f1: in [0, 1].
    """
    score_thr: float
    precision: float
    recall: float
    f1: float


@dataclass
class Counts:
    """Right detections and all of them, the highest score first: `hits[k]` of the first k + 1.

    Attributes:
        scores: `(n,)`, falling.
        hits: `(n,)`.
        number: of objects.
    """
    scores: np.ndarray
    hits: np.ndarray
    number: int

    @classmethod
    def of(cls, found: Found, label: int | None = None, threshold: int = 0) -> 'Counts':
        """Of a class, or for None of all of them together; `threshold` is the position of the IoU."""
        part = slice(None) if label is None else found.of_class(label)
        kept = ~found.left_out[threshold, part]
        scores, right = found.scores[part][kept], found.right[threshold, part][kept]
        order = np.argsort(-scores, kind='stable')
        number = found.numbers.sum() if label is None else found.numbers[label]
        return cls(scores[order], np.cumsum(right[order]), int(number))

    def at(self, thresholds: np.ndarray) -> dict[str, np.ndarray]:
        """'precision', 'recall' and 'f1' of the detections above each threshold; a precision of nothing is NaN."""
        above = np.searchsorted(-self.scores, -np.asarray(thresholds, float))
        hits = np.append(0, self.hits)[above]
        with np.errstate(invalid='ignore', divide='ignore'):
            return dict(precision=hits / above, recall=hits / self.number, f1=2 * hits / (above + self.number))

    def best(self) -> AtThreshold | None:
        """The threshold of the highest F1; None where no detection is right, or there are no objects.

        Of equal ones it is the highest threshold. It lies between two scores, in as few digits as that takes.
        """
        if not len(self.hits) or not self.hits[-1] or not self.number:
            return None
        ends = np.append(self.scores[1:] != self.scores[:-1], True)  # equal scores can't be told apart
        f1 = np.where(ends, 2 * self.hits / (np.arange(1, len(self.hits) + 1) + self.number), -1)
        k = int(f1.argmax())
        lower = self.scores[k + 1] if k + 1 < len(self.scores) else 0.
        return AtThreshold(between(float(lower), float(self.scores[k])), float(self.hits[k] / (k + 1)),
                           float(self.hits[k] / self.number), float(f1[k]))


def between(low: float, high: float) -> float:
    """A number between two, 0 ≤ low < high, in as few decimal places as that takes."""
    for digits in range(2, 17):
        value = round((low + high) / 2, digits)
        if low < value < high:
            return value
    return (low + high) / 2
