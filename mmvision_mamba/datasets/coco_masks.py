"""Masks in COCO annotation files, polygons or run lengths, without decoding them: problems, areas and extents."""
import math

from .json_numbers import is_integer

_BROKEN = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)


def mask_area(mask) -> float | None:
    """Pixels of a sound `segmentation`: the sum over its polygons, as in COCO's own files, or over its runs.

    Returns:
        None where it is missing or broken.
    """
    try:
        if isinstance(mask, dict):
            return float(sum(_runs(mask)[1::2])) or None
        return sum(map(_polygon_area, mask)) or None
    except _BROKEN:
        return None


def mask_extent(mask) -> tuple[float, float, float, float] | None:
    """The box (x, y, width, height) around a sound `segmentation`, in pixels; None where it is missing or broken."""
    try:
        if isinstance(mask, dict):
            return _runs_extent(_runs(mask), mask['size'][0])
        xs, ys = [x for polygon in mask for x in polygon[0::2]], [y for polygon in mask for y in polygon[1::2]]
        x, y = min(xs), min(ys)
        extent = x, y, max(xs) - x, max(ys) - y
        return extent if all(map(math.isfinite, extent)) else None
    except _BROKEN:
        return None


def rle_problem(rle: dict, width: float, height: float) -> str | None:
    """Problem of a COCO run-length encoding, its counts a list or a compressed string; None if it is sound.

    pycocotools is no judge: it decodes an encoding that ends early into whatever lies in memory.
    """
    if rle.get('size') != [height, width]:
        return f'size is {rle.get("size")!r:.40}, the image is {height} high and {width} wide'
    try:
        runs = _runs(rle)
    except _BROKEN:
        return f'counts is {rle.get("counts")!r:.40}'
    if not all(is_integer(run) and run >= 0 for run in runs):
        return 'counts has runs that are no lengths'
    total = sum(runs)
    return None if total == width * height else f'counts cover {total} of {width * height} pixels'


def _polygon_area(polygon: list) -> float:
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


def _runs(rle: dict) -> list[int]:
    counts = rle.get('counts')
    return counts if isinstance(counts, list) else _run_lengths(counts)


def _run_lengths(counts: str) -> list[int]:
    """Decode the COCO API's compressed string: groups of five bits, least significant first; from the fourth run on,
    differences from the last run but one."""
    runs, value, shift = [], 0, 0
    for char in counts.encode('ascii'):
        bits = char - 48
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError('not a character of run lengths')
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError('ends within a run')
    return runs
