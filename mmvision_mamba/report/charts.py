"""Charts as inline SVG: for small screens and large ones, in light and dark, on paper and for screen readers."""
import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from ..printable import shown

WIDTH, HEIGHT = 400, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 10, 10, 38
COLOURS = 8  # that the style sheet has: --c0 to --c7; further lines are dashed
_MOST_POINTS = 300  # of a line
_MOST_LINES = 24


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
        name: for the legend.
        points: (x, y); a y that is None or NaN leaves a gap, a point without x is left out.
        dotted: draw dots at the points, too.
    """
    name: str
    points: Sequence[tuple[float, float | None]]
    dotted: bool = False


def line_chart(title: str, lines: Sequence[Line], x_label: str, y_label: str,
               x_range: tuple[float, float] | None = None, y_range: tuple[float, float] | None = None,
               marks: Sequence[tuple[float, float]] = (), diagonal: bool = False) -> str:
    """A figure with lines, its title, and a legend where there are several.

    Args:
        title: above it, and what a screen reader says.
        lines: of more than 24 the first.
        x_label, y_label: of the axes.
        x_range, y_range: least and most. Default: those of the points.
        marks: (x, y) of points with a ring around.
        diagonal: draw the line y = x, too.
    """
    lines = [line._replace(points=_thinned([point for point in line.points if _is_number(point[0])]))
             for line in lines[:_MOST_LINES]]
    xs = [x for line in lines for x, y in line.points if _is_number(y)]
    ys = [y for line in lines for _, y in line.points if _is_number(y)]
    x_range, y_range = x_range or _range(xs), y_range or _range(ys)

    def place(x: float, y: float) -> tuple[float, float]:
        return (_LEFT + (x - x_range[0]) / (x_range[1] - x_range[0]) * (WIDTH - _LEFT - _RIGHT),
                HEIGHT - _BOTTOM - (y - y_range[0]) / (y_range[1] - y_range[0]) * (HEIGHT - _TOP - _BOTTOM))

    parts = [*_axes(x_range, y_range, x_label, y_label, place)]
    if diagonal:
        (x1, y1), (x2, y2) = place(x_range[0], y_range[0]), place(x_range[1], y_range[1])
        parts.append(f'<line class="grid" stroke-dasharray="4" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" '
                     f'y2="{y2:.1f}"/>')
    for i, line in enumerate(lines):
        style = f'class="line" style="stroke:var(--c{i % COLOURS})"{_dashes(i)}'
        places = [place(x, y) if _is_number(y) else None for x, y in line.points]
        parts += [f'<polyline {style} points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in piece)}"/>'
                  for piece in _pieces(places) if len(piece) > 1]
        alone = [piece[0] for piece in _pieces(places) if len(piece) == 1]
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" style="fill:var(--c{i % COLOURS})"/>'
                  for x, y in ([point for point in places if point] if line.dotted else alone)]
    parts += ['<circle class="mark" cx="{:.1f}" cy="{:.1f}" r="5"/>'.format(*place(x, y)) for x, y in marks]
    legend = ''.join(
        f'<span><svg width="22" height="8" aria-hidden="true"><line class="line" x1="0" x2="22" y1="4" y2="4" '
        f'style="stroke:var(--c{i % COLOURS})"{_dashes(i)}/></svg> {escape(shown(line.name, 60))}</span>'
        for i, line in enumerate(lines))
    legend = f'<div class="legend">{legend}</div>' if len(lines) > 1 else ''
    said = escape(f'{title}: {y_label} over {x_label}; {", ".join(shown(line.name, 60) for line in lines)}', quote=True)
    drawn = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{said}">{"".join(parts)}</svg>'
    return f'<figure class="chart"><figcaption>{escape(title)}</figcaption>{drawn}{legend}</figure>'


def _axes(x_range, y_range, x_label: str, y_label: str, place) -> list[str]:
    parts = []
    for value in ticks(*x_range):
        x, y = place(value, y_range[0])
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{y:.1f}"/>'
                     f'<text x="{x:.1f}" y="{y + 13:.1f}" text-anchor="{_anchor(x, tick_text(value))}">'
                     f'{tick_text(value)}</text>')
    for value in ticks(*y_range):
        x, y = place(x_range[0], value)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                     f'<text x="{x - 4:.1f}" y="{y + 3.5:.1f}" text-anchor="end">{tick_text(value)}</text>')
    parts.append(f'<text x="{(_LEFT + WIDTH - _RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">'
                 f'{escape(x_label)}</text>')
    parts.append(f'<text transform="translate(10 {(HEIGHT - _BOTTOM + _TOP) / 2}) rotate(-90)" text-anchor="middle">'
                 f'{escape(y_label)}</text>')
    return parts


def _anchor(x: float, label: str) -> str:
    """Where a label under x begins: in the middle of it, unless it would be cut off at the right."""
    return 'end' if x + 3.5 * len(label) > WIDTH else 'middle'  # a digit of 11 pixels is 7 wide at most


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two, about five of them."""
    rough = (high - low) / 5
    power = 10. ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [(first + i) * step for i in range(8) if (first + i) * step <= high + step * 1e-9]


def tick_text(value: float) -> str:
    if abs(value) >= 10_000:
        return f'{value / 1e6:g}M' if abs(value) >= 1e6 else f'{value / 1000:g}k'
    return f'{value:.4g}' if value else '0'


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (0., 1.)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-300):
        low, high = low - (abs(low) or 1) * 0.05, high + (abs(high) or 1) * 0.05
    return low, high


def _is_number(value: float | None) -> bool:
    return value is not None and abs(value) < 1e15 and math.isfinite(value)


def _thinned(points: list) -> list:
    """A bounded number of points: of each stretch the least and the most, so that spikes stay."""
    if len(points) <= _MOST_POINTS:
        return points
    length = math.ceil(2 * len(points) / _MOST_POINTS)
    kept = []
    for first in range(0, len(points), length):
        part = [point for point in points[first:first + length] if _is_number(point[1])]
        kept += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}) if part else []
    return kept


def _pieces(places: Sequence[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    pieces: list[list[tuple[float, float]]] = [[]]
    for one in places:
        if one is None:
            pieces.append([])
        else:
            pieces[-1].append(one)
    return [piece for piece in pieces if piece]


def _dashes(i: int) -> str:
    return '' if i < COLOURS else ' stroke-dasharray="5 3"' if i < 2 * COLOURS else ' stroke-dasharray="1.5 2.5"'
