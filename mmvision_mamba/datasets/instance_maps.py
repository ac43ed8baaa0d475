"""Maps of objects, each pixel with the number of its object, as COCO's run lengths."""
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from ..errors import DataError
from ..limits import OBJECTS, OUTLINE

_STRIP = 2**20  # pixels that are computed with at a time


class Instance(NamedTuple):
    """One object of a map.

    Attributes:
        number: of its pixels.
        mask: COCO's run lengths, compressed: `size` (H, W) and `counts`, text.
        box: x, y, width, height around its pixels.
        area: their number.
        labels: {label: how many of them have it}.
    """
    number: int
    mask: dict
    box: list[float]
    area: int
    labels: dict[int, int]


def instances_of(numbers: np.ndarray, labels: np.ndarray) -> Iterator[Instance]:
    """Yield the objects of a map in the order of their numbers; 0 is of none.

    Args:
        numbers: of the objects, (H, W), of a kind of whole numbers below 2**32.
        labels: of the pixels, (H, W), 0 to 255.

    Raises:
        DataError: there are more objects, or runs of pixels, than `limits` allows; without the file's name.
    """
    starts, keys = _runs(numbers, labels)
    ends = np.append(starts[1:], numbers.size)
    order = np.argsort(keys >> 8, kind='stable')
    order = order[np.searchsorted(keys[order] >> 8, 1):]
    firsts = np.flatnonzero(np.diff(keys[order] >> 8, prepend=0))
    if len(firsts) > OBJECTS.value:
        raise DataError(f'it has {len(firsts)} objects, and {OBJECTS.value} are allowed ({OBJECTS.way_out})')
    for runs in np.split(order, firsts[1:]) if len(firsts) else ():
        begin, end, lengths = starts[runs], ends[runs], ends[runs] - starts[runs]
        counts = np.bincount(keys[runs] & 255, lengths)
        apart = begin[1:] != end[:-1]  # runs that only their labels tell apart are one
        edges = np.stack([begin[np.append(True, apart)], end[np.append(apart, True)]], 1).ravel()
        mask = coco_mask.frPyObjects(
            dict(size=numbers.shape, counts=np.diff(edges, prepend=0, append=numbers.size)), *numbers.shape)
        yield Instance(int(keys[runs[0]] >> 8), dict(size=[*numbers.shape], counts=mask['counts'].decode()),
                       coco_mask.toBbox(mask).tolist(), int(lengths.sum()),
                       {label: int(count) for label, count in enumerate(counts) if count})


def _runs(numbers: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(start, number × 256 + label) of the runs of equal pixels along the columns of a map."""
    height, width = numbers.shape
    step = max(1, _STRIP // height)
    starts, keys, count = [], [], 0
    for left in range(0, width, step):
        strip = np.s_[:, left:left + step]
        key = (numbers[strip].astype(np.int64) << 8 | labels[strip]).T.ravel()
        new = np.flatnonzero(np.diff(key, prepend=-1))
        count += len(new)
        if count > OUTLINE.value:
            raise DataError(f'it has more than {OUTLINE.value} runs of equal pixels along its columns, and no more are '
                            f'allowed ({OUTLINE.way_out})')
        starts.append(new + left * height)
        keys.append(key[new])
    return np.concatenate(starts), np.concatenate(keys)
