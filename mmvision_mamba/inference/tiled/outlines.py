"""The outlines of masks as polygons along the edges of their pixels."""
from collections import defaultdict

import cv2
import numpy as np

_DIRECTIONS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up: each a turn to the right of the one before


def polygons(pixels: np.ndarray) -> list[list[np.ndarray]]:
    """The polygons around a mask's parts, which are joined by sides of pixels, not by corners alone.

    Args:
        pixels: bool ``(H, W)``.

    Returns:
        For each part its rings: the outer one, then those of holes. A ring is ``(n, 2)``, whole (column, row) of its
            corners from the upper left corner of the mask; the first is the last, too. Outer rings run counterclockwise
            where rows are drawn downwards, holes clockwise.
    """
    parts = cv2.connectedComponents(pixels.astype(np.uint8), connectivity=4)[1]
    found: dict[int, list[np.ndarray]] = defaultdict(list)
    for ring, part in _rings(pixels, parts):
        x, y = ring[:-1].T
        outer = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() > 0
        found[part].insert(0 if outer else len(found[part]), ring[::-1])
    return [found[part] for part in sorted(found)]


def _rings(pixels: np.ndarray, parts: np.ndarray):
    """(corners, part) of each ring, with the mask on its right."""
    padded = np.pad(pixels, 1)
    sides = [padded & ~neighbour for neighbour in (
        np.roll(padded, 1, 0), np.roll(padded, -1, 1), np.roll(padded, -1, 0), np.roll(padded, 1, 1))]
    onward: dict[tuple[int, int], dict[int, int]] = defaultdict(dict)  # by corner: a side's direction, its pixel's part
    for direction, (side, (right, below)) in enumerate(zip(sides, ((0, 0), (1, 0), (1, 1), (0, 1)))):
        rows, columns = np.nonzero(side[1:-1, 1:-1])
        for y, x, part in zip(rows.tolist(), columns.tolist(), parts[rows, columns].tolist()):
            onward[x + right, y + below][direction] = part
    while onward:
        start = x, y = next(iter(onward))
        direction, part = next(iter(onward[start].items()))
        first, corners = direction, [start]
        while True:
            del onward[x, y][direction]
            if not onward[x, y]:
                del onward[x, y]
            x, y = x + _DIRECTIONS[direction][0], y + _DIRECTIONS[direction][1]
            if (x, y) == start and (start not in onward or (direction + 1) % 4 not in onward[start]):
                break
            turn = next(turned for turned in ((direction + 1) % 4, direction, (direction + 3) % 4)
                        if turned in onward[x, y])
            if turn != direction:
                corners.append((x, y))
            direction = turn
        if direction == first and len(corners) > 1:  # the ring began within a side
            corners = corners[1:]
        yield np.array([*corners, corners[0]]), part
