"""Whether scores are probabilities: reliability and the expected calibration error. NumPy alone."""
from dataclasses import dataclass

import numpy as np

BINS = 10


@dataclass
class Calibration:
    """Predictions in bins of equal width by their score.

    Attributes:
        counts: `(bins,)`, of predictions.
        scores: `(bins,)`, their mean score; NaN in an empty bin.
        right: `(bins,)`, the share of right ones; NaN in an empty bin.
    """
    counts: np.ndarray
    scores: np.ndarray
    right: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance of both over predictions, in [0, 1]; NaN without any."""
        if not self.counts.sum():
            return float('nan')
        return float((self.counts * np.nan_to_num(np.abs(self.scores - self.right))).sum() / self.counts.sum())

    @property
    def bias(self) -> float:
        """The mean score less the share of right ones: above 0 scores are too high; NaN without predictions."""
        total = self.counts.sum()
        return float((self.counts * np.nan_to_num(self.scores - self.right)).sum() / total) if total else float('nan')


def calibration(scores: np.ndarray, right: np.ndarray, bins: int = BINS) -> Calibration:
    """The calibration of predictions.

    Args:
        scores: `(n,)`, in [0, 1].
        right: bool `(n,)`.
        bins: their number. A score on the border of two is in the lower one. Default: 10.
    """
    at = np.clip(np.ceil(np.asarray(scores, float) * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(at, minlength=bins)
    with np.errstate(invalid='ignore', divide='ignore'):
        return Calibration(counts, np.bincount(at, scores, bins) / counts, np.bincount(at, right, bins) / counts)
