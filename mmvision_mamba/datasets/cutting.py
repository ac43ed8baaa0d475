"""Objects and outlines cut to the windows of their picture: boxes, polygons and run lengths, without decoding masks."""
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from ..errors import DataError
from ..limits import OBJECTS, PARTS
from .coco_masks import mask_area, mask_extent, runs_of

Window = tuple[int, int, int, int]  # x, y, width, height
_FEWEST = 6  # numbers of a polygon


def cut_objects(objects: Sequence[dict], windows: Sequence[Window], least: float) -> list[list[dict]]:
    """Cut a picture's objects to windows.

    What an object shows in a window is its share of the mask's area, of the box's where there is no mask. It stays
    where it shows `least` or more; where no window shows so much of it, in those that show `least` of what the window
    does that shows most: an object that is larger than windows is learned, too. Elsewhere it is to be ignored. Boxes
    of less than a pixel are left out, as mmdet leaves them out of whole pictures.

    Args:
        objects: mmdet's `instances`: `bbox` (x1, y1, x2, y2), `ignore_flag`, and perhaps `mask`, polygons or run
            lengths, which are sound.
        windows: of the picture.
        least: share of an object, 0 to 1.

    Returns:
        For each window its objects, in their order, as in `objects`, with coordinates from the window's corner.
            Polygons are clipped, run lengths cropped; the box of a cut object with a mask is that around what is left.

    Raises:
        DataError: there are more objects, or they have more parts, than `limits` allows; without the file's name.
    """
    if len(objects) > OBJECTS.value:
        raise DataError(f'it has {len(objects)} objects, and {OBJECTS.value} are allowed ({OBJECTS.way_out})')
    found: list[list[dict]] = [[] for _ in windows]
    corners = corners_of(windows)
    allowed = Parts()
    for one in objects:
        mask = one.get('mask') or None
        area = mask_area(mask) if mask else None
        if isinstance(mask, dict):
            mask = Runs.of(mask)
        met = allowed.count(meeting(one['bbox'], corners))
        parts = [(index, *cut) for index in met if (cut := _cut(one, mask, area, windows[index])) is not None]
        most = max((share for _, share, _ in parts), default=0.)
        enough = least if most >= least else least * most
        for index, share, part in parts:
            x1, y1, x2, y2 = part['bbox']
            if x2 - x1 >= 1 and y2 - y1 >= 1:
                found[index].append(part if share >= enough else dict(part, ignore_flag=1))
    return found


class Parts:
    """Counts the parts that a picture's objects have in its windows, which a small file may make many."""

    def __init__(self) -> None:
        self.number, self.most = 0, PARTS.value

    def count(self, met: list[int]) -> list[int]:
        """The windows of another object, as they are.

        Raises:
            DataError: the parts are more than `limits.PARTS`; without the file's name.
        """
        self.number += len(met)
        if self.number > self.most:
            raise DataError(f'its objects have more than {self.most} parts in its tiles ({PARTS.way_out}): take larger '
                            'tiles, or less overlap')
        return met


def corners_of(windows: Sequence[Window]) -> np.ndarray:
    """The corners (x1, y1, x2, y2) of windows, ``(n, 4)``."""
    return np.array([(x, y, x + width, y + height) for x, y, width, height in windows], float).reshape(-1, 4)


def meeting(box: Sequence[float], corners: np.ndarray) -> list[int]:
    """The indices of the windows, by their corners, that a box (x1, y1, x2, y2) has a part in."""
    x1, y1, x2, y2 = box
    met = (corners[:, 0] < x2) & (corners[:, 1] < y2) & (corners[:, 2] > x1) & (corners[:, 3] > y1)
    return np.flatnonzero(met).tolist()


def _cut(one: dict, mask: 'list | Runs | None', area: float | None, window: Window) -> tuple[float, dict] | None:
    """(visible share, the object in a window); None where its mask has nothing there."""
    x, y, width, height = window
    x1, y1, x2, y2 = (value - offset for value, offset in zip(one['bbox'], (x, y, x, y)))
    whole = x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height
    box = [max(x1, 0.), max(y1, 0.), min(x2, width), min(y2, height)]
    part = mask.cropped(window) if isinstance(mask, Runs) else cut_mask(mask or [], window)
    if not area:  # no mask, or one without a pixel
        share = (box[2] - box[0]) * (box[3] - box[1]) / ((x2 - x1) * (y2 - y1))
        return share, dict(one, bbox=box, **({} if mask is None else dict(mask=part)))
    left = mask_area(part) if part else None
    if not left:
        return None
    if whole:
        return 1., dict(one, bbox=[x1, y1, x2, y2], mask=part)
    left_x, left_y, wide, high = mask_extent(part)  # type: ignore[misc]
    box = [max(box[0], left_x), max(box[1], left_y), min(box[2], left_x + wide), min(box[3], left_y + high)]
    return left / area, dict(one, bbox=box, mask=part)


def cut_mask(mask: list | dict, window: Window) -> list | dict:
    """A COCO `segmentation` in a window: polygons clipped, or run lengths cropped; of what lies outside, `[]`."""
    if isinstance(mask, dict):
        return cropped(mask, window)
    x, y, width, height = window
    found = [np.asarray(polygon, float).reshape(-1, 2) - (x, y) for polygon in mask
             if len(polygon) >= _FEWEST and len(polygon) % 2 == 0]
    for axis, bound, inwards in ((0, 0., 1), (1, 0., 1), (0, width, -1), (1, height, -1)):
        found = [part for polygon in found for part in _clipped(polygon, axis, bound, inwards)]
    return [polygon.ravel().tolist() for polygon in found]


def _clipped(points: np.ndarray, axis: int, bound: float, inwards: int) -> list[np.ndarray]:
    """The parts of a polygon ``(n, 2)`` on one side of a line, each a polygon with an area.

    Where the polygon passes the line several times, parts are apart: joined along the line, as Sutherland and Hodgman
    leave them, they would reach to where nothing is.
    """
    inside = (points[:, axis] - bound) * inwards
    if (inside >= 0).all():
        return [points]
    kept = inside > 0  # what merely touches the line has no area behind it
    enters = ~kept & np.roll(kept, -1)
    if not enters.any():
        return []
    points, inside, kept, enters = (np.roll(values, -enters.argmax(), 0) for values in (points, inside, kept, enters))
    following, further = np.roll(points, -1, 0), np.roll(inside, -1)
    crosses = kept != (further > 0)
    with np.errstate(divide='ignore', invalid='ignore'):
        crossings = points + (following - points) * (inside / (inside - further))[:, None]
    crossings[:, axis] = bound
    ways = np.stack([points, crossings], 1)[np.stack([kept, crosses], 1)]
    starts = np.cumsum(kept.astype(int) + crosses)[enters] - 1
    return _joined(np.split(ways, starts[1:]), 1 - axis)


def _joined(ways: list[np.ndarray], axis: int) -> list[np.ndarray]:
    """Polygons of directed ways that begin and end on a line along an axis, closed between neighbours on the line."""
    if len(ways) == 1:
        return ways
    ends = [way[at, axis] for way in ways for at in (0, -1)]
    follows, unpaired = {}, []
    for end in np.argsort(ends, kind='stable').tolist():  # an even one begins a way, an odd one ends it
        if unpaired and (unpaired[-1] ^ end) & 1:
            begins, leaves = sorted((unpaired.pop(), end), key=lambda one: one & 1)
            follows[leaves // 2] = begins // 2
        else:
            unpaired.append(end)
    found = []
    while follows:
        start, way = follows.popitem()
        part = [ways[start]]
        while way != start:
            part.append(ways[way])
            way = follows.pop(way)
        found.append(np.concatenate(part))
    return found


def cropped(rle: dict, window: Window) -> dict | list:
    """The run lengths of a mask in a window of its picture, without decoding it; `[]` where it has no pixel there.

    Args:
        rle: COCO's run-length encoding, its counts a list or compressed; a sound one, see `coco_masks.rle_problem`.
        window: (x, y, width, height), in the picture.

    Returns:
        COCO's compressed run-length encoding, of the window's size.
    """
    return Runs.of(rle).cropped(window)


class Runs(NamedTuple):
    """A mask's runs of object pixels, numbered along the columns of its picture: decoded once, for many windows.

    Attributes:
        starts, ends: of each run, ``(n,)``, in ascending order, an end being the pixel behind it.
        tall: the picture's height.
    """
    starts: np.ndarray
    ends: np.ndarray
    tall: int

    @classmethod
    def of(cls, rle: dict) -> 'Runs':
        """Those of a sound run-length encoding."""
        edges = np.cumsum(np.asarray(runs_of(rle), np.int64))
        starts, ends = edges[:-1:2], edges[1::2]
        return cls(starts[ends > starts], ends[ends > starts], int(rle['size'][0]))

    def cropped(self, window: Window) -> dict | list:
        """As `cropped`."""
        x, _, width, _ = window
        left, right = x * self.tall, (x + width) * self.tall
        kept = slice(np.searchsorted(self.ends, left, 'right'), np.searchsorted(self.starts, right))
        return _encoded(np.maximum(self.starts[kept], left), np.minimum(self.ends[kept], right), self.tall, window)


def _encoded(starts: np.ndarray, ends: np.ndarray, tall: int, window: Window) -> dict | list:
    """The run lengths in a window of runs that lie in its columns."""
    x, y, width, height = window
    first, last = starts // tall, (ends - 1) // tall  # columns that a run lies in
    repeats = last - first + 1
    columns = np.repeat(first, repeats) + np.arange(repeats.sum()) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    tops = np.clip(np.maximum(np.repeat(starts, repeats) - columns * tall, 0) - y, 0, height)
    bottoms = np.clip(np.minimum(np.repeat(ends, repeats) - columns * tall, tall) - y, 0, height)
    columns, tops, bottoms = (values[bottoms > tops] for values in (columns, tops, bottoms))
    if not len(columns):
        return []
    starts, ends = (columns - x) * height + tops, (columns - x) * height + bottoms
    apart = starts[1:] != ends[:-1]  # not from the last row of a column to the first of the next
    edges = np.stack([starts[np.r_[True, apart]], ends[np.r_[apart, True]]], 1).ravel()
    counts = np.diff(np.r_[0, edges, width * height]).tolist()
    counts = counts if counts[-1] else counts[:-1]
    code = coco_mask.frPyObjects(dict(size=[height, width], counts=counts), height, width)
    return dict(size=[height, width], counts=code['counts'].decode())
