"""The windows of a picture through a model, row after row: what inference and evaluation by tiles share."""
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from mmengine.structures import BaseDataElement

from ...allocator import give_freed_memory_back
from ...datasets.tile_grid import Grid, Tiling
from ...errors import ConfigError
from .instances import Instance, check_size, instances_of
from .merging import merge
from .pictures import Picture

Advance = Callable[[], object]


class Windows:
    """A model on windows.

    Args:
        predict: (windows, number of them per forward) -> a data sample for each, on the CPU.
        tiling: how pictures are cut.
        batch_size: windows per forward.
        look: called with the first window of each batch. Default: nothing is.

    Attributes:
        masked: whether the model has been seen to predict masks.
    """

    def __init__(self, predict: Callable[[Sequence[np.ndarray], int], list[BaseDataElement]], tiling: Tiling,
                 batch_size: int, look: Callable[[np.ndarray], object] = lambda window: None):
        self.predict, self.tiling, self.batch_size, self.look = predict, tiling, batch_size, look
        self.masked = False

    def samples(self, picture: Picture, grid: Grid, row: int, needed: str,
                advance: Advance = lambda: None) -> Iterator[BaseDataElement]:
        """Yield the predictions of a row of windows.

        Args:
            picture, grid: the picture and its windows.
            row: number of the row.
            needed: what a data sample must have.
            advance: called for each window. Default: nothing is.

        Raises:
            ConfigError: the model predicts what can't be put together.
        """
        for first in range(0, len(grid.columns), self.batch_size):
            give_freed_memory_back()
            columns = range(first, min(first + self.batch_size, len(grid.columns)))
            windows = [picture.read(*grid.window(row, column)) for column in columns]
            self.look(windows[0])
            for sample in self.predict(windows, self.batch_size):
                if needed not in sample or 'pred_panoptic_seg' in sample:
                    raise ConfigError('tiles of detectors (boxes, masks) and of segmentors with logits can be put '
                                      'together; this model predicts something else: go without --tile')
                advance()
                yield sample

    @staticmethod
    def parts(grid: Grid) -> int:
        """Parts that instances of a picture are found in: rows and, where there are several windows, all of it."""
        return len(grid.rows) + (len(grid) > 1)

    def factor(self, picture: Picture) -> int:
        """By which a picture is reduced to the size of a window."""
        return -(-max(picture.height, picture.width) // self.tiling.tile)

    def instances(self, picture: Picture, grid: Grid, part: int, advance: Advance = lambda: None) -> list[Instance]:
        """The instances of a row of windows or, of the part behind the rows, large ones of the reduced picture.

        Raises:
            DataError: the picture is too large for masks.
        """
        if part < len(grid.rows):
            found = []
            for column, sample in enumerate(self.samples(picture, grid, part, 'pred_instances', advance)):
                self.masked |= 'masks' in sample.pred_instances
                found += instances_of(sample.pred_instances, grid.window(part, column))
        else:  # objects that no window need have whole
            factor = self.factor(picture)
            sample, = self.predict([picture.reduced(factor, self.tiling.tile)], 1)
            advance()
            found = [one for one in instances_of(sample.pred_instances, (0, 0, picture.width, picture.height), factor)
                     if max(one.box[2] - one.box[0], one.box[3] - one.box[1]) > self.tiling.shared]
        if any(instance.mask is not None for instance in found):
            check_size(picture.height, picture.width)  # before the other windows, not after them
        return found

    def merged(self, picture: Picture, grid: Grid) -> list[Instance]:
        """The instances of a picture, each object once."""
        found = [one for part in range(self.parts(grid)) for one in self.instances(picture, grid, part)]
        return merge(found, picture.height, picture.width)
