"""Masks in COCO annotation files, polygons or run lengths, without decoding them: problems, areas and extents."""
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..limits import MASK_PIXELS, OUTLINE, POINTS
from ..printable import shown
from .json_numbers import as_written, is_integer

_REACH = 10  # sides of its image that a polygon may lie away
_BROKEN = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError, ZeroDivisionError)


def mask_area(mask) -> float | None:
    """Pixels of a sound `segmentation`: the sum over its polygons, as in COCO's own files, or over its runs.

    Returns:
        None where it is missing or broken.
    """
    try:
        if isinstance(mask, dict):
            return float(sum(runs_of(mask)[1::2])) or None
        return sum(map(_polygon_area, mask)) or None
    except _BROKEN:
        return None


def mask_extent(mask) -> tuple[float, float, float, float] | None:
    """The box (x, y, width, height) around a sound `segmentation`, in pixels; None where it is missing or broken."""
    try:
        if isinstance(mask, dict):
            return _runs_extent(runs_of(mask), mask['size'][0])
        xs, ys = ([value for polygon in mask for value in _ends(polygon[axis::2])] for axis in (0, 1))
        x, y = min(xs), min(ys)
        extent = x, y, max(xs) - x, max(ys) - y
        return extent if all(map(math.isfinite, extent)) else None
    except _BROKEN:
        return None


def decoded_columns(rle: dict, first: int, number: int) -> np.ndarray:
    """Some of the columns of a sound mask in run lengths, (H, number), uint8, 1 where it is."""
    height = rle['size'][0]
    edges = np.cumsum(runs_of(rle), dtype=np.int64).clip(first * height, (first + number) * height)
    lengths = np.diff(edges, prepend=first * height)
    return np.repeat((np.arange(len(lengths)) % 2).astype(np.uint8), lengths).reshape(-1, height).T


def _ends(values: list | np.ndarray) -> list:
    """Numbers with the same extremes: of an array those alone, to go through no array number by number."""
    return [values.min().item(), values.max().item()] if isinstance(values, np.ndarray) and len(values) else values


class Bounds(NamedTuple):
    """The bounds on an object's mask, looked up once for many of them."""
    points: int
    outline: int

    @classmethod
    def now(cls) -> 'Bounds':
        return cls(POINTS.value, OUTLINE.value)


def broken_polygon(polygons: list, width: float, height: float):
    """The first of an object's polygons that is no list of coordinates in or near its image; None if all are."""
    reach = _REACH * max(width, height)
    for polygon in polygons:  # no generator: there are hundreds of thousands of objects
        if not isinstance(polygon, list | np.ndarray) or not _are_within(polygon, reach):
            return polygon
    return None


def size_problem(polygons: list, width: float, height: float, bounds: Bounds) -> str | None:
    """Why an object's polygons, none of them broken, are too large for pycocotools, as a phrase; None if they aren't.

    It walks along every pixel of an outline, in the image or not, and takes memory for each.
    """
    points = sum(map(len, polygons)) // 2
    if points > bounds.points:
        return f'it has {points} points, and {bounds.points} are allowed ({POINTS.way_out})'
    if points * 2 * _REACH * max(width, height) > bounds.outline and (
            length := sum(map(_outline, polygons))) > bounds.outline:
        return f'its outline is {length:.0f} pixels long, and {bounds.outline} are allowed ({OUTLINE.way_out})'
    return None


def masks_problem(masks: Sequence, height: int, width: int, as_bitmaps: bool = True) -> str | None:
    """Problem of an image's masks together, as a phrase; None if they can be decoded.

    Args:
        masks: of its objects, each polygons or run lengths.
        height, width: of the image, in pixels.
        as_bitmaps: whether all are decoded at once. Default: True.
    """
    if as_bitmaps and (problem := bitmaps_problem(len(masks), width, height)):
        return problem
    bounds, outline = Bounds.now(), 0.
    for mask in masks:
        problem = None
        if isinstance(mask, dict):
            problem = rle_problem(mask, width, height)
        elif isinstance(mask, list):
            broken = broken_polygon(mask, width, height)
            broken = broken.tolist() if isinstance(broken, np.ndarray) else broken
            problem = shown(broken, 60) if broken is not None else size_problem(mask, width, height, bounds)
            if not problem and len(masks) * sum(map(len, mask)) * _REACH * max(width, height) > bounds.outline:
                outline += sum(map(_outline, mask))
        if problem:
            return f'a mask cannot be decoded: {problem}'
    return None if outline <= bounds.outline else \
        f'the outlines of its masks are {outline:.0f} pixels long, and {bounds.outline} are allowed ({OUTLINE.way_out})'


def bitmaps_problem(count: int, width: float, height: float) -> str | None:
    """Problem of decoding that many masks of an image at once, as a phrase; None if there are few enough."""
    pixels = count * width * height
    return None if pixels <= MASK_PIXELS.value else \
        (f'its {count} masks of {width} × {height} pixels take {pixels / 2**30:.1f} GiB, and '
         f'{MASK_PIXELS.value / 2**30:.1f} are allowed ({MASK_PIXELS.way_out}, bytes): cut the image into tiles')


def _are_within(values: list | np.ndarray, reach: float) -> bool:
    """Whether all are numbers from -reach to reach; fast, since a file may have hundreds of thousands of polygons."""
    if isinstance(values, np.ndarray):
        return not values.size or bool(np.abs(values).max() <= reach)  # NaN compares false
    return {*map(type, values)} <= {int, float} and -reach <= min(values, default=0) \
        and max(values, default=0) <= reach and not math.isnan(sum(values))


def _outline(polygon: list) -> float:
    """Pixels along a polygon, as pycocotools counts them: the longer of both ways of each edge."""
    points = np.array(polygon[:len(polygon) // 2 * 2], float).reshape(-1, 2)
    return float(np.abs(points - np.roll(points, -1, 0)).max(1).sum()) if len(points) else 0.


def rle_problem(rle: dict, width: float, height: float) -> str | None:
    """Problem of a COCO run-length encoding, its counts a list or a compressed string; None if it is sound.

    pycocotools is no judge: it decodes an encoding that ends early into whatever lies in memory.
    """
    size = rle.get('size')
    if not isinstance(size, list | tuple) or [*size] != [height, width]:
        return f'size is {shown(size, 40)}, the image is {height} high and {width} wide'
    try:
        runs = runs_of(rle)
    except _BROKEN:
        return f'counts is {as_written(rle.get("counts"))}'
    if not all(is_integer(run) and 0 <= run < 2**32 for run in runs):
        return 'counts has runs that are no lengths'
    total = sum(runs)
    return None if total == width * height else f'counts cover {total} of {width * height} pixels'


def _polygon_area(polygon: list | np.ndarray) -> float:
    polygon = polygon.tolist() if isinstance(polygon, np.ndarray) else polygon
    xs, ys = polygon[0::2], polygon[1::2]
    area = abs(sum(x * y for x, y in zip(xs, [*ys[1:], ys[0]])) - sum(x * y for x, y in zip([*xs[1:], xs[0]], ys))) / 2
    if not math.isfinite(area):
        raise ValueError('not finite')
    return area


def _runs_extent(runs: list[int], height: int) -> tuple[float, float, float, float] | None:
    """As `mask_extent`: runs of background and object pixels by turns, along the columns of an image."""
    start, lefts, rights, tops, bottoms = 0, [], [], [], []
    for i, run in enumerate(runs):
        if i % 2 and run > 0:
            first, last = divmod(start, height), divmod(start + run - 1, height)  # column, row
            lefts.append(first[0])
            rights.append(last[0])
            whole = first[0] != last[0]  # it runs over the lower edge, to the top of the next column
            tops.append(0 if whole else first[1])
            bottoms.append(height - 1 if whole else last[1])
        start += run
    if not lefts:
        return None
    x, y = min(lefts), min(tops)
    return x, y, max(rights) - x + 1, max(bottoms) - y + 1


def runs_of(rle: dict) -> list[int]:
    """The lengths of a sound run-length encoding: background and object pixels by turns, along the columns."""
    counts = rle.get('counts')
    return counts if isinstance(counts, list) else _run_lengths(counts)


def _run_lengths(counts: str | bytes) -> list[int]:
    """Decode the COCO API's compressed string: groups of five bits, least significant first; from the fourth run on,
    differences from the last run but one."""
    content = counts if isinstance(counts, bytes) else counts.encode('ascii')
    chars = np.frombuffer(content, np.uint8).astype(np.int64) - 48
    if not chars.size:
        return []
    ends = np.flatnonzero(~chars & 32)
    lengths = np.diff(ends, prepend=-1)  # characters of each run
    if chars.min() < 0 or chars.max() >= 64 or not ends.size or ends[-1] != chars.size - 1 or lengths.max() > 12:
        raise ValueError('no run lengths')
    starts = ends - lengths + 1
    places = np.arange(chars.size) - np.repeat(starts, lengths)
    values = np.add.reduceat((chars & 31) << 5 * places, starts)
    values -= np.where(chars[ends] & 16, 1 << 5 * lengths, 0)
    if np.abs(values).max() > 2**40:  # no sum of them overflows
        raise ValueError('no run lengths')
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values.tolist()
