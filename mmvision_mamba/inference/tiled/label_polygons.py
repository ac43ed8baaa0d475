"""The areas of a label map as polygons along the edges of its pixels, found while its rows go by.

A line between two rows of pixels is looked at where labels meet in a corner: there an outline ends, begins, turns or
joins another. Memory holds two rows and the outlines of areas that have not ended, whatever the height of the map.
"""
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

_NONE = -1  # the label of what is no area: outside of the map, and labels that are left out
_UP, _RIGHT, _DOWN, _LEFT = range(4)  # sides of pixels that meet in a corner, clockwise; a side's quadrant follows it

Polygon = tuple[int, list[np.ndarray]]


class _Area:
    """Pixels of one label that are joined by sides: its closed outlines, and how many are still open."""
    __slots__ = ('into', 'label', 'open', 'rings')

    def __init__(self, label: int):
        self.label, self.open, self.rings = label, 1, []
        self.into: _Area | None = None


class _Outline:
    """A part of an outline, with its area on the right of the way from its first point to its last."""
    __slots__ = ('area', 'into', 'points')

    def __init__(self, area: _Area, point: tuple[int, int]):
        self.area, self.points = area, deque([point])
        self.into: _Outline | None = None


def _present(one):
    """What an area or outline has been joined to."""
    while one.into is not None:
        if one.into.into is not None:
            one.into = one.into.into
        one = one.into
    return one


def _passages() -> list[list[tuple[int, int, int]]]:
    """By the sides that divide labels at a corner, as bits: (quadrant, side in, side out) of areas that turn there."""
    found: list[list[tuple[int, int, int]]] = []
    for bits in range(16):
        sides = [side for side in range(4) if bits >> side & 1]
        pairs = zip(sides, sides[1:] + sides[:1]) if len(sides) > 1 else ()
        found.append([(out, into, out) for out, into in pairs if (into - out) % 4 != 2])
    return found


_PASSAGES = _passages()


def label_polygons(rows: Iterable[np.ndarray], width: int, left_out: Iterable[int] = ()) -> Iterator[Polygon]:
    """Yield (label, rings) of each area of a label map, as soon as its last row has gone by.

    Pixels of an area are joined by sides, not by corners alone.

    Args:
        rows: labels ``(n, width)`` of the map's rows, some at a time, from the top.
        width: of the map.
        left_out: labels that give no polygons. Default: none.

    Yields:
        The rings as `outlines.polygons` has them: the outer one, then those of holes, each ``(n, 2)``.
    """
    sweep = _Sweep(width)
    above = np.full(width + 2, _NONE, np.int64)
    for block in rows:
        for labels in block:
            below = np.full(width + 2, _NONE, np.int64)
            below[1:-1] = labels
            for label in left_out:
                below[below == label] = _NONE
            yield from sweep.line(above, below)
            above = below
    yield from sweep.line(above, np.full(width + 2, _NONE, np.int64))


class _Sweep:
    """Outlines that are open where the sweep has come to: by column, those that go on downwards.

    Attributes:
        starts: outlines that come from below, on the left side of their area.
        ends: outlines that go on below, on the right side of theirs.
    """

    def __init__(self, width: int):
        self.width, self.y = width, 0
        self.starts: dict[int, _Outline] = {}
        self.ends: dict[int, _Outline] = {}

    def line(self, above: np.ndarray, below: np.ndarray) -> Iterator[Polygon]:
        """Go over the line between two rows, each with a pixel of no area at both ends; yields what has ended there."""
        up, down = above[:-1] != above[1:], below[:-1] != below[1:]
        left, right = above[:-1] != below[:-1], above[1:] != below[1:]
        corners = np.flatnonzero((up | down) & (left | right))
        ended: list[_Area] = []
        if len(corners):
            bits = (up * 1 + right * 2 + down * 4 + left * 8)[corners].tolist()
            # The label of each side's quadrant: north-east follows up, then south-east, south-west and north-west.
            quadrants = np.stack([above[1:], below[1:], below[:-1], above[:-1]], 1)[corners].tolist()
            self._turn(corners.tolist(), bits, quadrants, ended)
            self._join(corners, np.flatnonzero(down), below)
        self.y += 1
        for area in dict.fromkeys(ended):
            if area.into is None and not area.open:
                yield area.label, _sorted(area.rings)

    def _turn(self, corners: list[int], bits: list[int], quadrants: list[list[int]], ended: list[_Area]) -> None:
        """Lead the outlines through the corners of a line, from left to right."""
        above: _Outline | None = None  # on the line: an outline that comes from the right, its area above it
        below: _Outline | None = None  # one that goes to the right, its area below it
        for x, sides, labels in zip(corners, bits, quadrants):
            comes_above = goes_below = start = end = None
            for quadrant, into, out in _PASSAGES[sides]:
                if labels[quadrant] == _NONE:
                    continue
                earlier = self.ends.pop(x) if into == _UP else below if into == _LEFT else None
                later = self.starts.pop(x) if out == _UP else above if out == _LEFT else None
                one = self._through(earlier, later, labels[quadrant], (x, self.y), ended)
                start, comes_above = (one if into == side else old for side, old in (
                    (_DOWN, start), (_RIGHT, comes_above)))
                end, goes_below = (one if out == side else old for side, old in ((_DOWN, end), (_RIGHT, goes_below)))
            if start is not None:
                self.starts[x] = start
            if end is not None:
                self.ends[x] = end
            straight = sides >> _LEFT & sides >> _RIGHT & 1
            above = above if straight and not sides >> _UP & 1 else comes_above
            below = below if straight and not sides >> _DOWN & 1 else goes_below

    def _through(self, earlier: _Outline | None, later: _Outline | None, label: int, point: tuple[int, int],
                 ended: list[_Area]) -> _Outline:
        """The outline that goes through a point: after `earlier`, before `later`."""
        earlier, later = earlier and _present(earlier), later and _present(later)
        if earlier is None and later is None:
            return _Outline(_Area(label), point)
        if earlier is None:
            later.points.appendleft(point)  # type: ignore[union-attr]
            return later  # type: ignore[return-value]
        earlier.points.append(point)
        if later is None:
            return earlier
        area = _united(_present(earlier.area), _present(later.area))
        area.open -= 1
        if earlier is later:
            area.rings.append(np.array(earlier.points))
            ended.append(area)
            return earlier
        if len(later.points) > len(earlier.points):
            later.points.extendleft(reversed(earlier.points))
            earlier.into, kept = later, later
        else:
            earlier.points.extend(later.points)
            later.into, kept = earlier, earlier
        kept.area = area
        return kept

    def _join(self, corners: np.ndarray, borders: np.ndarray, below: np.ndarray) -> None:
        """Unite the outlines at both ends of each run of pixels in the row below that has a corner at or above it."""
        touched = np.unique(np.r_[np.searchsorted(borders, corners, 'right') - 1,
                                  np.searchsorted(borders, corners, 'left') - 1])
        for run in touched[(touched >= 0) & (touched < len(borders) - 1)].tolist():
            x1, x2 = int(borders[run]), int(borders[run + 1])
            if below[x2] != _NONE:
                _united(_present(_present(self.starts[x1]).area), _present(_present(self.ends[x2]).area))


def _united(one: _Area, other: _Area) -> _Area:
    if one is other:
        return one
    if len(other.rings) > len(one.rings):
        one, other = other, one
    one.open += other.open
    one.rings += other.rings
    other.into, other.rings = one, []
    return one


def _sorted(rings: list[np.ndarray]) -> list[np.ndarray]:
    """Rings turned round and closed, the outer one first."""
    found: list[np.ndarray] = []
    for ring in rings:
        x, y = ring.T
        outer = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0
        ring = np.concatenate([ring, ring[:1]])[::-1]
        found.insert(0 if outer else len(found), ring)
    return found
