"""The pixel values of mask images, and whether smoothing has left values between them."""
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from ..errors import DataError
from ..files import read_bytes
from ..processes import warn_once
from ..text import shortened
from .image_files import open_picture, stretched_labels

_FEW = 4  # values between others that may be classes: thin lines of a few classes lie between areas, too
_CLOSE = 8  # values to which JPEG's compression may take one level
_NEAR = 32  # and a few of its pixels
LOSSY = ('a mask in a format that changes pixel values, such as JPEG: class numbers may be wrong along outlines. '
         'Export masks as PNG')


class MaskValues(NamedTuple):
    """The pixel values of a set of masks.

    Attributes:
        first: {value: the first mask that has it}, sorted.
        pixels: (256,), pixels of each value.
        between: (256,), those of them with a lower and a higher value among their eight neighbours.
        broken: {mask that can't be read: why}.
        lossy: the first mask whose file format changes values; None without any.
    """
    first: dict[int, str]
    pixels: np.ndarray
    between: np.ndarray
    broken: dict[str, str]
    lossy: str | None = None

    def __add__(self, other: 'MaskValues') -> 'MaskValues':
        first = dict(sorted({**other.first, **self.first}.items()))
        return MaskValues(first, self.pixels + other.pixels, self.between + other.between, self.broken | other.broken,
                          self.lossy or other.lossy)

    def check_resampled(self) -> None:
        """Raise DataError where the values look like levels, smoothed where two of them meet.

        In areas of a class neighbours are equal; a pixel that a resize, a blur or JPEG's compression has made lies
        between a lower and a higher one.
        """
        present = np.flatnonzero(self.pixels)
        mixed = [int(v) for v in present if self.between[v] >= self.pixels[v] / 2]
        levels = [int(v) for v in present if v not in mixed]
        mixed = [v for v in mixed if levels and levels[0] < v < levels[-1]]
        if len(mixed) < max(_FEW, len(levels) // 2) or (self.lossy and len(levels) < 2):  # see `check_lossy`
            return
        example, levels = self.first[mixed[0]], self._main(levels)
        mixed = [int(v) for v in present if v not in levels]
        share = self.pixels[mixed].sum() / self.pixels.sum()
        way = f'a threshold at {sum(levels) // 2}' if len(levels) == 2 else 'each value set to the nearest level'
        raise DataError(f'{example}: these look like resampled masks: {len(levels)} levels '
                        f'({shortened(levels)}), {len(mixed)} in-between values, {100 * share:.3g}% of the pixels.\n'
                        'Way out: export them again as PNG without smoothing (resize with nearest neighbour, no JPEG), '
                        f'or restore the levels: {way}')

    def check_lossy(self, classes: int | None) -> None:
        """Raise DataError where JPEG's compression may have made class numbers; warn where all are those of classes.

        Between small numbers, such as 0, 1 and 2, nothing tells what it has made from what was there.

        Args:
            classes: number of classes that are named. None: none are.
        """
        values = set(self.first) - {255}
        if self.lossy is None or values <= {0}:
            return
        if len(values | {0}) > 2 and values - set(range(classes or 0)):
            raise DataError(f'{self.lossy}: a mask in a format that changes pixel values, such as JPEG. The masks have '
                            f'{shortened(self.first)}; which of them are classes can not be told.\nWay out: export '
                            'them as PNG. If all values are right, name their classes in classes.txt')
        warn_once(f'{self.lossy}: {LOSSY}')

    def _main(self, levels: list[int]) -> list[int]:
        """The levels without what compression has made: those close to one of more pixels, or near one of many more."""
        kept: list[int] = []
        for value in sorted(levels, key=lambda value: -self.pixels[value]):
            rare = 20 * self.pixels[value]
            if all(abs(value - other) > (_NEAR if rare < self.pixels[other] else _CLOSE) for other in kept):
                kept.append(value)
        return sorted(kept)


def mask_values(masks: Sequence[str]) -> MaskValues:
    """The pixel values of all mask images.

    Raises:
        DataError: a mask has several channels, or values outside of 0 to 255.
    """
    first: dict[int, str] = {}
    pixels, between, broken, lossy = np.zeros(256, np.int64), np.zeros(256, np.int64), {}, None
    with ThreadPoolExecutor() as pool:
        for path, read in zip(masks, pool.map(_read, masks)):
            if isinstance(read, str):
                broken[path] = read
                continue
            counts, mixed, changed = read
            lossy = lossy or (path if changed else None)
            pixels += counts
            between += mixed
            for value in np.flatnonzero(counts).tolist():
                first.setdefault(value, path)
    return MaskValues(dict(sorted(first.items())), pixels, between, broken, lossy)


def is_lossy(image: Image.Image) -> bool:
    """Whether an image's file is compressed in a way that changes values; needs nothing but its header."""
    return image.format in ('JPEG', 'MPO', 'JPEG2000', 'AVIF') or 'jpeg' in str(image.info.get('compression'))


def used_palette(path: str) -> dict[int, tuple[int, int, int]]:
    """{pixel value: its colour} of the values that a mask has; empty for one without a palette, or that is broken."""
    try:
        with open_picture(read_bytes(path)) as image:
            if image.mode != 'P':
                return {}
            colours = np.reshape(image.getpalette('RGB'), (-1, 3)).tolist()
            return {value: tuple(colours[value]) for value in np.unique(np.asarray(image)).tolist()
                    if value < len(colours)}
    except Exception:  # Pillow's plug-ins may raise anything
        return {}


def _read(path: str) -> tuple[np.ndarray, np.ndarray, bool] | str:
    """(pixels of each value, those between a lower and a higher neighbour, whether its format changes values) of a
    mask, or why it is broken."""
    try:
        content = read_bytes(path)
        with open_picture(content) as image:
            if problem := stretched_labels(content):
                return problem
            lossy, mask = is_lossy(image), np.asarray(image)
    except DataError as error:
        return str(error)
    except Exception as error:  # Pillow's plug-ins may raise anything
        return f'it is not an image, or damaged ({error})'
    if mask.ndim > 2:
        equal = mask.shape[2] >= 3 and (mask[..., :1] == mask[..., :3]).all()
        raise DataError(
            f'{path}: the mask is a colour picture ({mask.shape[2]} channels).\nA mask has one channel: each pixel\'s '
            'value, 0 to 255, is the number of its class. ' + (
                'Its channels are equal: save it as a grey PNG' if equal else
                'Export the masks as class numbers, or convert each colour to the number of its class'))
    if mask.min(initial=0) < 0 or mask.max(initial=0) > 255:
        value = mask.max() if mask.max() > 255 else mask.min()
        raise DataError(f'{path}: the mask has the value {value}; mmseg takes 0 to 255')
    mask = mask.astype(np.uint8)
    counts = np.bincount(mask.ravel(), minlength=256)
    if np.count_nonzero(counts) <= 2 or not mask.size:
        return counts, np.zeros(256, np.int64), lossy
    kernel = np.ones((3, 3), np.uint8)
    inside = (cv2.erode(mask, kernel) < mask) & (mask < cv2.dilate(mask, kernel))
    return counts, np.bincount(mask[inside], minlength=256), lossy
