"""Objects that several windows of a picture saw, made one instance each.

Two windows speak of one object if, in the part of the picture that both see, their instances agree: so an object that a
window's border cuts is found again however little of it lies in that part, which a comparison of whole boxes misses.
They agree by their intersection over union, each being the other's best match. A part that its window's border cuts and
that agrees with nothing whole belongs to the instance that covers it. What is linked, over several windows if need be,
becomes one instance.

The result depends on no order. Instances of one window are never merged, and all of the result are of one window, the
picture: merging them again changes nothing.
"""
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np

from .instances import Instance, Mask, Window

AGREEMENT = 0.5  # of intersection over union, and of the covered share of a part that is cut


def merge(instances: Sequence[Instance], height: int, width: int) -> list[Instance]:
    """Instances of a picture, each object once.

    Args:
        instances: of its windows, with or without a mask each.
        height, width: of the picture, in pixels.

    Returns:
        Instances whose window is the picture: those of a single window in their order, those of several by descending
            score. A merged one has the union of masks, the box around the boxes, and the highest score.
    """
    picture = (0, 0, width, height)
    if len({instance.window for instance in instances}) < 2 and all(one.scale == 1 for one in instances):
        return [replace(instance, window=picture) for instance in instances]
    parents = list(range(len(instances)))

    def root(i: int) -> int:
        while parents[i] != i:
            parents[i] = i = parents[parents[i]]
        return i
    links = list(_links(instances, picture))
    for i, j, agree in links:
        if agree:
            parents[root(i)] = root(j)
    whole = {root(i) for i, instance in enumerate(instances) if not any(_cut(instance, picture))}
    parts = [(i, j) for i, j, agree in links if not agree and root(i) not in whole]
    for i, j in parts:
        parents[root(i)] = root(j)
    groups = defaultdict(list)
    for i, instance in enumerate(instances):
        groups[root(i)].append(instance)
    merged = [_union(group, picture) for group in groups.values()]
    return sorted(merged, key=lambda one: (-one.score, one.label, one.box, one.mask or ()))


def _links(instances: Sequence[Instance], picture: Window) -> Iterator[tuple[int, int, bool]]:
    """Pairs of instances, by their indices: True, they agree; False, the first is cut, and the second covers it."""
    found: dict[tuple[Window, int], list[int]] = defaultdict(list)
    for i, instance in enumerate(instances):
        found[instance.window, instance.label].append(i)
    by_label: dict[int, list[Window]] = defaultdict(list)
    for window, label in found:
        by_label[label].append(window)
    pixels = lru_cache(512)(lambda i: instances[i].mask.pixels())  # type: ignore[union-attr]
    for label, windows in by_label.items():
        corners = np.array([(x, y, x + width, y + height) for x, y, width, height in windows])
        for number, window in enumerate(windows):
            shared = _intersections(corners[number:number + 1], corners[number + 1:])[0]
            for other in np.flatnonzero((shared[:, 2:] > shared[:, :2]).all(1)):
                yield from _links_between(instances, found[window, label], found[windows[number + 1 + other], label],
                                          shared[other], picture, pixels)


def _links_between(instances, these: list[int], those: list[int], zone: np.ndarray, picture: Window,
                   pixels) -> Iterator[tuple[int, int, bool]]:
    """Links between the instances of two windows, whose shared part is `zone` (x1, y1, x2, y2)."""
    boxes = [_intersections(np.array([instances[i].box for i in side]), zone[None])[:, 0] for side in (these, those)]
    common = _areas(_intersections(*boxes))
    sizes = [_areas(side) for side in boxes]
    for m, n in zip(*np.nonzero(common)):
        pair = these[m], those[n]
        if instances[pair[0]].mask is not None:
            rectangle = _rectangle(zone, *(instances[i].bounds for i in pair))
            common[m, n] = np.logical_and(*(instances[i].pixels_in(pixels(i), *rectangle) for i in pair)).sum()
    for side, size in zip((these, those), sizes):
        for m, i in enumerate(side):
            if instances[i].mask is not None and size[m]:
                size[m] = instances[i].pixels_in(pixels(i), *_rectangle(zone, instances[i].bounds)).sum()
    first, second = sizes[0][:, None], sizes[1][None]
    with np.errstate(divide='ignore', invalid='ignore'):
        union = np.nan_to_num(common / (first + second - common))
        covered = [np.nan_to_num(common / first), np.nan_to_num(common / second)]
    best = [common > 0] * 2
    if common.size:
        best = [union == union.max(1, keepdims=True), union == union.max(0, keepdims=True)]
    agree = (union >= AGREEMENT) & best[0] & best[1] & (common > 0)
    yield from ((these[m], those[n], True) for m, n in zip(*np.nonzero(agree)))
    for axis, (side, other) in enumerate(((these, those), (those, these))):
        cut = np.array([any(_cut(instances[i], picture)) for i in side])
        most = common == common.max(1 - axis, keepdims=True)
        covers = np.expand_dims(cut, 1 - axis) & most & (covered[axis] >= AGREEMENT) & (common > 0) & ~agree
        yield from ((side[m], other[n], False) for m, n in zip(*np.nonzero(covers if axis == 0 else covers.T)))


def _cut(instance: Instance, picture: Window) -> tuple[bool, bool, bool, bool]:
    """Whether an instance reaches its window's border on the left, above, right, below, where the picture goes on."""
    x, y, width, height = instance.window
    x1, y1, x2, y2 = instance.box
    across, down = _margin(width), _margin(height)
    return (x > 0 and x1 < x + across, y > 0 and y1 < y + down,
            x + width < picture[2] and x2 > x + width - across, y + height < picture[3] and y2 > y + height - down)


def _margin(side: int) -> int:
    """Pixels from a window's border within which an object reaches it."""
    return max(2, side // 64)


def _union(group: list[Instance], picture: Window) -> Instance:
    """One instance of those of one object, by what the windows at full resolution saw as far as they did."""
    fine = [one for one in group if one.scale == 1] or group
    coarse = [one for one in group if one.scale != 1] if fine is not group else []
    box = []
    for side, outermost in enumerate((min, min, max, max)):
        values = [one.box[side] for one in fine]
        end = outermost(values)
        ends = [one for one in fine if abs(one.box[side] - end) < _margin(one.window[2 + side % 2])]
        if all(_cut(one, picture)[side] for one in ends):
            values += [one.box[side] for one in coarse]
        box.append(outermost(values))
    scores = [one.mask_score for one in group if one.mask_score is not None]
    return replace(group[0], score=max(one.score for one in group), box=tuple(box), window=picture, scale=1,
                   mask=None if group[0].mask is None else _joined(fine, coarse, picture),
                   mask_score=max(scores) if scores else None)


def _joined(fine: list[Instance], coarse: list[Instance], picture: Window) -> Mask:
    """The union of masks: those of `fine`, and outside of their windows those of `coarse`."""
    if len(fine) == 1 and not coarse and fine[0].scale == 1:
        return fine[0].mask  # type: ignore[return-value]
    bounds = np.array([one.bounds for one in (*coarse, *fine)])
    left, top = bounds[:, :2].min(0)
    right, bottom = np.minimum(bounds[:, 2:].max(0), picture[2:])
    canvas = np.zeros((bottom - top, right - left), bool)

    def place(x1: int, y1: int, x2: int, y2: int) -> np.ndarray:
        return canvas[max(y1 - top, 0):max(y2 - top, 0), max(x1 - left, 0):max(x2 - left, 0)]

    def add(one: Instance) -> None:
        rectangle = _rectangle((0, 0, *picture[2:]), one.bounds)
        place(*rectangle)[:] |= one.pixels_in(one.mask.pixels(), *rectangle)  # type: ignore[union-attr]
    for one in coarse:
        add(one)
    for one in fine if coarse else ():
        x, y, width, height = one.window
        place(x, y, x + width, y + height)[:] = False
    for one in fine:
        add(one)
    return Mask.of(canvas, int(left), int(top))


def _rectangle(*boxes: Sequence[int]) -> tuple[int, int, int, int]:
    """The intersection of rectangles (x1, y1, x2, y2); of those that don't meet, one of no size."""
    x1, y1, x2, y2 = zip(*boxes)
    left, top = int(max(x1)), int(max(y1))
    return left, top, max(int(min(x2)), left), max(int(min(y2)), top)


def _intersections(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersections ``(n, m, 4)`` of boxes ``(n, 4)`` and ``(m, 4)``; of those that don't meet, of no positive size."""
    return np.concatenate([np.maximum(boxes[:, None, :2], others[None, :, :2]),
                           np.minimum(boxes[:, None, 2:], others[None, :, 2:])], 2)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return np.prod(np.clip(boxes[..., 2:] - boxes[..., :2], 0, None), -1, dtype=float)
