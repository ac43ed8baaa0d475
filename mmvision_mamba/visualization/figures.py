"""What all pictures share: colours of classes, instances drawn over an image, files that are whole or not there."""
from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..errors import ConfigError
from ..files import replace

SUFFIXES = ('.png', '.jpg', '.svg', '.pdf')


def check_picture(path: str | os.PathLike) -> None:
    """Raises ConfigError where `path` is no name of a picture: a tool does so before it starts to work."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES or path.is_dir():
        raise ConfigError(f'--out {path}: expected the name of a picture, with one of {", ".join(SUFFIXES)}')


def save(figure: Figure, out: str | os.PathLike) -> None:
    """Write a figure, and folders that are missing above it.

    Raises:
        ConfigError: it can't be written there.
    """
    try:
        replace(Path(out), lambda temporary: figure.savefig(temporary, dpi=120))
    except OSError as error:
        raise ConfigError(f'{out} can not be written: {error.strerror or error}') from error


def class_colours(metainfo: dict, count: int) -> np.ndarray:
    """RGB colours `(count, 3)` in [0, 1]: a data set's palette, or, without one, hues far from each other."""
    palette = metainfo.get('palette')
    if isinstance(palette, list | tuple) and len(palette) >= count and isinstance(palette[0], list | tuple):
        return np.array(palette[:count], float).reshape(count, 3) / 255
    hues = np.arange(count) * 0.618034 % 1  # the golden ratio
    return matplotlib.colors.hsv_to_rgb(np.stack([hues, np.full(count, 0.75), np.full(count, 0.9)], axis=-1))


def draw_instances(ax: Axes, boxes: Sequence[Sequence[float]], masks: Sequence[np.ndarray] | None,
                   labels: Sequence[int], colours: np.ndarray, texts: Sequence[str] | None = None,
                   shape: tuple[int, int] | None = None, alpha: float = 0.6, **box) -> None:
    """Draw boxes, masks and texts over the image that `ax` shows.

    Args:
        ax: shows an image of height and width `shape`.
        boxes: x1, y1, x2, y2 each, in pixels.
        masks: `(H, W)` each, or None.
        labels: rows of `colours`.
        colours: `(classes, 3)`, RGB in [0, 1].
        texts: one by each box.
        shape: of the image.
        alpha: opacity of masks. Default: 0.6.
        box: further settings of the boxes, for Matplotlib's `Rectangle`.
    """
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        colour = colours[labels[i]]
        if masks is not None:
            overlay = np.zeros((*shape, 4))
            overlay[np.asarray(masks[i], bool)] = *colour, alpha
            ax.imshow(overlay, interpolation='nearest')
        # A pixel's centre has whole coordinates in Matplotlib, its corner in COCO.
        ax.add_patch(Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, **{
            'fill': False, 'edgecolor': colour, 'linewidth': 1.2, **box}))
        if texts is not None:
            # Above the box; within it where the image ends there.
            ax.text(max(x1, 0.5), y1, texts[i], fontsize=6, color='white', clip_on=True,
                    va='bottom' if y1 > 0.06 * shape[0] else 'top',
                    bbox={'facecolor': colour, 'edgecolor': 'none', 'pad': 0.6})
