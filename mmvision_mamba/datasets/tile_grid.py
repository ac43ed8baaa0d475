"""The windows that cover a picture, and the weights by which what they share is blended."""
import math
from dataclasses import dataclass

import numpy as np

from ..errors import ConfigError

LEAST_TILE, MOST_OVERLAP = 32, 0.5
DEFAULT_OVERLAP = 0.2


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut.

    Args:
        tile: pixels of a window's side, 32 or more.
        overlap: of neighbouring windows, at least, as a share of the side: 0 to 0.5. Default: 0.2.

    Raises:
        ConfigError: another tile or overlap.
    """
    tile: int
    overlap: float = DEFAULT_OVERLAP

    def __post_init__(self) -> None:
        if isinstance(self.tile, bool) or not isinstance(self.tile, int) or self.tile < LEAST_TILE:
            raise ConfigError(f'tile must be a whole number of pixels, {LEAST_TILE} or more, got {self.tile!r}')
        if isinstance(self.overlap, bool) or not isinstance(self.overlap, int | float) \
                or not 0 <= self.overlap <= MOST_OVERLAP:
            raise ConfigError(f'overlap must be a share of the tile, 0 to {MOST_OVERLAP}, got {self.overlap!r}')

    @property
    def shared(self) -> int:
        """Pixels that neighbouring windows share at least; an object with no longer side is whole in one of them."""
        return math.ceil(self.tile * self.overlap)

    def number(self, length: int) -> int:
        """How many windows there are along a side of a picture: as few as there can be."""
        return 1 if length <= self.tile else math.ceil((length - self.shared) / (self.tile - self.shared))

    def axis(self, length: int) -> 'Axis':
        """The windows along a side of a picture, evenly spaced."""
        side, number = min(self.tile, length), self.number(length)
        return Axis(tuple(round(i * (length - side) / max(number - 1, 1)) for i in range(number)), side)


@dataclass(frozen=True)
class Axis:
    """Windows along a side of a picture: where they start, in order, and their common length."""
    starts: tuple[int, ...]
    side: int

    def __len__(self) -> int:
        return len(self.starts)

    def step(self, i: int) -> int:
        """Pixels of window i before the next one starts; of the last, all."""
        return self.starts[i + 1] - self.starts[i] if i + 1 < len(self) else self.side

    def weights(self, i: int) -> np.ndarray:
        """Weights ``(side,)`` of window i's pixels, float32: those of all windows at a pixel add up to 1.

        They rise and fall smoothly over what neighbours share, and are exactly 1 where there is one window.
        """
        start, total = self.starts[i], np.zeros(self.side)
        for other in self.starts:
            first, last = max(start, other), min(start, other) + self.side
            if first < last:
                total[first - start:last - start] += _bump(self.side)[first - other:last - other]
        return (_bump(self.side) / total).astype(np.float32)


def _bump(side: int) -> np.ndarray:
    """A sine's arch: nearly 0 at a window's ends, where a model sees least around a pixel."""
    return np.sin((np.arange(side) + 0.5) * (np.pi / side))


@dataclass(frozen=True)
class Grid:
    """The windows of a picture, row by row.

    Args:
        rows, columns: their places down and across.
    """
    rows: Axis
    columns: Axis

    @classmethod
    def of(cls, tiling: Tiling, height: int, width: int) -> 'Grid':
        return cls(tiling.axis(height), tiling.axis(width))

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def window(self, row: int, column: int) -> tuple[int, int, int, int]:
        """(x, y, width, height) of a window."""
        return self.columns.starts[column], self.rows.starts[row], self.columns.side, self.rows.side
