"""Draws the maps of one image in one picture, in the manner of the paper's figure 5."""
from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..errors import ConfigError
from .backbone_maps import BackboneMaps, overlay
from .figures import new_figure

TILE = 2.6  # inches, a picture's longer side
COLUMNS = 5
MARK = '#00e5ff'
MOST_POINTS = 50  # rows of a picture, a tenth of a second each and more


def draw_maps(maps: BackboneMaps, points: Sequence[Sequence[float]] = ()) -> Figure:
    """Draw the maps of an image in a grid of five columns.

    - first row: the image, and the principal components of each stage;
    - second row: self-attention averaged over all queries, and the scan's step Δ, of stages 3 and 4;
    - a row for each point: its place, its attention in stages 3 and 4, and its window in both, enlarged.

    Titles give the values of the darkest and the brightest colour; attention is relative to an even distribution.

    Args:
        maps: the maps of the image.
        points: (x, y) each, in the image's pixels. At most 50. Default: none.

    Raises:
        ConfigError: a point outside the image, or too many of them.
    """
    if len(points) > MOST_POINTS:
        raise ConfigError(f'{len(points)} points: a picture has {MOST_POINTS} at most')
    height, width = maps.image.shape[:2]
    shrink = TILE / max(height, width)
    size = max(width * shrink, 1.4), max(height * shrink, 1.1) + 0.35
    rows = 2 + len(points)
    figure = new_figure(COLUMNS * size[0], rows * size[1])
    axes = figure.subplots(rows, COLUMNS, squeeze=False)
    for row, panels in zip(axes, [_features(maps), _averages(maps), *(_point(maps, point) for point in points)]):
        for ax, (title, picture, extent) in zip(row, [*panels, *[('', None, None)] * COLUMNS]):
            ax.set_axis_off()
            ax.set_title(title, fontsize=8)
            if picture is not None:
                ax.imshow(picture, interpolation='nearest', extent=extent)
    for row, point in zip(axes[2:], points):
        for ax in row[:3]:
            _mark(ax, point, maps.image.shape)
        for ax, stage in zip(row[3:], maps.stages[2:]):
            _mark(ax, point, maps.image.shape, maps.window(stage, point))
    return figure


Panel = tuple[str, np.ndarray | None, tuple | None]  # title, picture, extent of its axes


def _features(maps: BackboneMaps) -> Iterator[Panel]:
    yield 'image', maps.image, None
    for stage in maps.stages:
        yield f'stage {stage}: features', maps.components(stage), None


def _averages(maps: BackboneMaps) -> Iterator[Panel]:
    yield 'averaged over all places', maps.image, None
    for stage in maps.stages[2:]:
        values = maps.attention(stage)
        yield _panel(f'stage {stage}: attention', maps.image, values, values.min())
    for stage in maps.stages[2:]:
        values = maps.delta(stage)
        yield _panel(f'stage {stage}: scan step Δ', maps.image, values, values.min())


def _point(maps: BackboneMaps, point: Sequence[float]) -> Iterator[Panel]:
    x, y = point
    yield f'point {x:g}, {y:g}', maps.image, None
    stages = maps.stages[2:]
    attention = [maps.attention(stage, point) for stage in stages]
    for stage, values in zip(stages, attention):
        yield _panel(f'stage {stage}: attention', maps.image, values, 0)
    for stage, values in zip(stages, attention):
        x1, y1, x2, y2 = maps.window(stage, point)
        values = values[y1:y2, x1:x2]
        title, picture, _ = _panel(f'stage {stage}: its window', maps.image[y1:y2, x1:x2], values, values.min())
        yield title, picture, (x1 - 0.5, x2 - 0.5, y2 - 0.5, y1 - 0.5)


def _panel(title: str, image: np.ndarray, values: np.ndarray, low: float) -> Panel:
    return f'{title}, {low:.3g} to {values.max():.3g}', overlay(image, values, low), None


def _mark(ax: Axes, point: Sequence[float], shape: Sequence[int], window: Sequence[int] | None = None) -> None:
    """Mark a point with a cross, and show its window, or else the whole image of that shape."""
    ax.plot(*point, marker='+', markersize=9, markeredgewidth=1.6, color=MARK)
    x1, y1, x2, y2 = window or (0, 0, shape[1], shape[0])
    ax.set_xlim(x1 - 0.5, x2 - 0.5)
    ax.set_ylim(y2 - 0.5, y1 - 0.5)
