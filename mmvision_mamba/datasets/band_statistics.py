"""Mean, standard deviation and range of each band over images, in one pass."""
import numpy as np

from .bands import missing

_CHUNK = 2**22  # values that are summed up at once, as float64


class BandStatistics:
    """Statistics of bands, without their missing values; images are added one by one.

    Means and squared deviations of parts are merged by the formula of Chan, Golub and LeVeque, which loses no digits to
    large sums.

    Args:
        bands: how many.

    Attributes:
        count, absent: values of each band, ``(bands,)``, and how many of it are missing.
        mean: of each band, 0 without values.
        low, high: of each band, infinite without values.
    """

    def __init__(self, bands: int):
        self.count, self.absent = np.zeros(bands, np.int64), np.zeros(bands, np.int64)
        self.mean, self._squares = np.zeros(bands), np.zeros(bands)
        self.low, self.high = np.full(bands, np.inf), np.full(bands, -np.inf)

    @property
    def std(self) -> np.ndarray:
        """Of all values, not of a sample of them."""
        return np.sqrt(self._squares / np.maximum(self.count, 1))

    @property
    def absent_share(self) -> float:
        """Of all values, those that are missing."""
        return float(self.absent.sum() / max(self.absent.sum() + self.count.sum(), 1))

    def add(self, values: np.ndarray, nodata: float | None = None) -> None:
        """Add an image ``(H, W, bands)``, whose missing values are NaN, infinite or `nodata`."""
        rows = values.reshape(-1, values.shape[-1])
        step = max(_CHUNK // rows.shape[1], 1)
        for start in range(0, len(rows), step):
            part = rows[start:start + step]
            absent = missing(part, nodata)
            self.merge(_of(part.astype(np.float64), np.zeros(part.shape, bool) if absent is None else absent))

    def merge(self, other: 'BandStatistics') -> None:
        """Add the values of other statistics of these bands."""
        shift = np.where(other.count > 0, other.mean - self.mean, 0)
        total = np.maximum(self.count + other.count, 1)
        self._squares += other._squares + shift ** 2 * self.count * other.count / total
        self.mean += shift * other.count / total
        self.count += other.count
        self.absent += other.absent
        self.low, self.high = np.minimum(self.low, other.low), np.maximum(self.high, other.high)


def _of(part: np.ndarray, absent: np.ndarray) -> BandStatistics:
    """Statistics of values ``(pixels, bands)``."""
    found = BandStatistics(part.shape[1])
    found.count, found.absent = (~absent).sum(0), absent.sum(0)
    found.mean = np.where(absent, 0, part).sum(0) / np.maximum(found.count, 1)
    found._squares = (np.where(absent, 0, part - found.mean) ** 2).sum(0)
    found.low, found.high = (np.where(absent, np.inf, part).min(0), np.where(absent, -np.inf, part).max(0))
    return found
