"""What all pictures share: figures without a display, class colours, instances over an image, atomic saving."""
from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..errors import ConfigError
from ..files import check_output, replace
from ..inference.fonts import use_fonts

SUFFIXES = ('.png', '.jpg', '.svg', '.pdf')


def check_picture(path: str | os.PathLike) -> None:
    """Raises ConfigError unless `path` can name a picture; commands call it before they start to work."""
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES or path.is_dir():
        raise ConfigError(f'--out {path}: expected the name of a picture, with one of {", ".join(SUFFIXES)}')
    check_output(path, '--out')


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of `width` × `height` inches, which needs no display."""
    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, out: str | os.PathLike) -> None:
    """Write a figure, and make missing folders above it; its texts are drawn in any script that a font has.

    Raises:
        ConfigError: the figure can't be written there.
    """
    use_fonts(figure)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', 'Glyph .* missing from font')  # `use_fonts` names them all
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


def show_grey(ax: Axes, image: np.ndarray) -> None:
    """Show an RGB image `(H, W, 3)`, uint8, in grey: classes drawn over it have colours of their own."""
    ax.imshow(image.mean(axis=-1), cmap='gray', vmin=0, vmax=255, interpolation='nearest')


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
        texts: a text beside each box. Default: none.
        shape: height and width of the image; needed with masks and texts.
        alpha: opacity of masks. Default: 0.6.
        box: further settings of the boxes, for Matplotlib's `Rectangle`.
    """
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        colour = colours[labels[i]]
        if masks is not None:
            overlay = np.zeros((*shape, 4))
            overlay[np.asarray(masks[i], bool)] = *colour, alpha
            ax.imshow(overlay, interpolation='nearest')
        # Whole coordinates are a pixel's centre in Matplotlib, its corner in COCO.
        ax.add_patch(Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, **{
            'fill': False, 'edgecolor': colour, 'linewidth': 1.2, **box}))
        if texts is not None:
            # Above the box, or inside it at the upper border of the image.
            ax.text(max(x1, 0.5), y1, texts[i], fontsize=6, color='white', clip_on=True,
                    va='bottom' if y1 > 0.06 * shape[0] else 'top',
                    bbox={'facecolor': colour, 'edgecolor': 'none', 'pad': 0.6})
