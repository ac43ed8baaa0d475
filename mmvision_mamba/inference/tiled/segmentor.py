"""Segmentors on a picture of any size: the logits of its windows blended, labels written strip by strip.

A strip is what a row of windows completes. What the next row shares with it, blended so far, waits in a file: memory
holds the logits of the windows in a batch, whatever the picture's size, and a run that was stopped goes on with the
next strip and the same numbers.
"""
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from mmengine.structures import BaseDataElement

from ...datasets.label_maps import IGNORED
from ...datasets.tile_grid import Grid

Samples = Iterator[BaseDataElement]


class LabelFile:
    """Labels in a file of nothing else, row after row.

    Args:
        path: the file.
        shape: (height, width) of the picture.
        dtype: of a label.
    """

    def __init__(self, path: Path, shape: tuple[int, int], dtype: type):
        self.path, self.shape, self.dtype = path, shape, np.dtype(dtype)

    def write(self, top: int, labels: np.ndarray) -> None:
        """Put rows in their place."""
        with open(self.path, 'r+b' if self.path.exists() else 'wb') as file:
            file.seek(top * self.shape[1] * self.dtype.itemsize)
            labels.tofile(file)

    def rows(self, top: int = 0, bottom: int | None = None) -> np.ndarray:
        """The labels of some rows ``(rows, width)``; of all by default."""
        bottom = self.shape[0] if bottom is None else min(bottom, self.shape[0])
        size = self.shape[1] * self.dtype.itemsize
        return np.fromfile(self.path, self.dtype, (bottom - top) * self.shape[1], offset=top * size).reshape(
            bottom - top, self.shape[1])

    def has(self, rows: int) -> bool:
        return self.path.is_file() and self.path.stat().st_size >= rows * self.shape[1] * self.dtype.itemsize


class LabelStrips:
    """The labels of a picture in a folder, and beside them what waits for the next row of windows.

    Args:
        folder: which is there; it may hold the strips that an earlier run finished.
        grid: the picture's windows.
        labels: their file.
        to_labels: logits ``(classes, h, w)`` -> labels ``(h, w)``.
        first: the row of windows to begin with; strips lack what rows above it have in them. Default: 0.
    """

    def __init__(self, folder: Path, grid: Grid, labels: LabelFile,
                 to_labels: Callable[[torch.Tensor], torch.Tensor], first: int = 0):
        self.folder, self.grid, self.labels, self.to_labels, self.first = folder, grid, labels, to_labels, first

    def waiting(self, row: int) -> Path:
        """The file of what row `row` of the windows has left for the next one."""
        return self.folder / f'waiting-{row}'

    def has(self, rows: int) -> bool:
        """Whether the files are those after `rows` rows of windows, of which all but the last leave something."""
        number = len(self.grid.rows)
        if rows == number:
            return self.labels.has(self.labels.shape[0])
        return rows == 0 or (0 < rows < number and self.labels.has(self.grid.rows.starts[rows])
                             and self.waiting(rows - 1).is_file())

    def add(self, row: int, samples: Samples) -> None:
        """Write the strip that a row of windows completes.

        Args:
            row: its number; those before it are written.
            samples: predictions of its windows, with `seg_logits`.
        """
        rows, columns = self.grid.rows, self.grid.columns
        down = torch.from_numpy(rows.weights(row))[:, None]
        step = rows.step(row)
        strip = np.empty((step, self.labels.shape[1]), self.labels.dtype)
        from_left = None
        above = self.waiting(row - 1) if row > self.first else None
        with _reader(above) as earlier, open(self.waiting(row), 'wb') as later:
            for column in range(len(columns)):
                logits = next(samples).seg_logits.data.float() * (
                    down * torch.from_numpy(columns.weights(column))[None])
                if from_left is not None:
                    logits[..., :from_left.shape[-1]] += from_left
                across = columns.step(column)
                from_left = logits[..., across:].clone()
                logits = logits[..., :across]
                if above is not None:
                    shared = rows.side - rows.step(row - 1)
                    size = logits.shape[0] * shared * across
                    logits[:, :shared] += torch.from_numpy(np.fromfile(earlier, np.float32, size)).reshape(
                        logits.shape[0], shared, across)
                left = columns.starts[column]
                strip[:, left:left + across] = self.to_labels(logits[:, :step]).numpy()
                logits[:, step:].contiguous().numpy().tofile(later)
        self.labels.write(rows.starts[row], strip)

    def forget(self, row: int) -> None:
        """Remove what no row needs any more once row `row` is noted as done."""
        self.waiting(row - 1).unlink(missing_ok=True)


def _reader(path: Path | None):
    return open(os.devnull if path is None else path, 'rb')


def label_maker(model: torch.nn.Module, kept: list[int] | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """What makes labels ``(h, w)`` of a segmentor's `seg_logits` as mmseg does; 255 for classes that are not kept."""
    def to_labels(logits: torch.Tensor) -> torch.Tensor:
        # Of one channel they are probabilities.
        labels = logits.argmax(0) if len(logits) > 1 else (logits[0] > model.decode_head.threshold).long()
        return labels if kept is None else labels.masked_fill(~torch.isin(labels, torch.tensor(kept)), IGNORED)
    return to_labels
