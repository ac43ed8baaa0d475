"""What the images of a data set hold, band by band, for the report on it."""
import numpy as np

from ..datasets.band_loading import LoadImageFromFile
from ..datasets.band_statistics import BandStatistics
from ..datasets.bands import Kind


class BandReport:
    """Sizes, values and missing values of the images that a loader of bands reads.

    Args:
        loader: of the data set's pipeline.

    Attributes:
        statistics: of the bands that are read.
        sizes: (height, width) of each image.
    """

    def __init__(self, loader: LoadImageFromFile):
        self.numbers, self.kind = loader.bands, Kind(loader.file_bands or 0, loader.dtype or '')
        self.statistics, self.sizes = BandStatistics(len(loader.bands)), []

    def add(self, statistics: BandStatistics, size: tuple[int, int]) -> None:
        """Add an image."""
        self.statistics.merge(statistics)
        self.sizes.append(tuple(size))

    def as_dict(self) -> dict:
        """Dict for a JSON file."""
        found = self.statistics
        return dict(file_bands=self.kind.bands, dtype=self.kind.dtype, missing=found.absent_share, bands=[
            dict(number=number, values=count, **(dict(min=low, max=high, mean=mean, std=std) if count else {}))
            for number, count, low, high, mean, std in zip(self.numbers, *(values.tolist() for values in (
                found.count, found.low, found.high, found.mean, found.std)))])

    def lines(self) -> list[str]:
        """Lines of text; none where no image could be read."""
        if not self.sizes:
            return []
        heights, widths = zip(*self.sizes)
        text = f'{min(widths)} × {min(heights)}' + (
            '' if len({*self.sizes}) == 1 else f' to {max(widths)} × {max(heights)}')
        bands = [f'band {band["number"]} ' + (f'{band["min"]:g} to {band["max"]:g}' if band['values'] else 'none')
                 for band in self.as_dict()['bands']]
        missing = self.statistics.absent_share
        text += f' pixels, {self.kind}' + (f'; {missing:.1%} of the values are missing' if missing else '')
        return [f'  images of {text}',
                f'  values: {", ".join(bands)}']


def statistics_of(image: np.ndarray) -> BandStatistics:
    """Of an image as a loader whose `fill` is NaN has it."""
    statistics = BandStatistics(image.shape[2])
    statistics.add(image)
    return statistics
