"""Label maps as image files: the values of their pixels, in one convention wherever they are written and read.

A pixel has the value that it would have in a mask of the data set. With `reduce_zero_label` (ADE20K and its like),
whose masks count from 1 and call 0 unlabelled, that is the label + 1, and 0 means none; such maps can be submitted as
they are. Otherwise it is the label, and 255 means none.
"""
import os
from collections.abc import Sequence

import numpy as np
from PIL import Image

from ..errors import DataError
from ..files import read_bytes
from .image_files import open_picture

IGNORED = 255  # the label of pixels without one


def segment_map(labels: np.ndarray, num_classes: int, palette: Sequence[Sequence[int]] | None = None,
                reduce_zero_label: bool = False) -> Image.Image:
    """Labels as an image of 8 bits; of 16 bits and without palette for more than 255 classes.

    Args:
        labels: ``(H, W)``, 255 where there is none.
        num_classes: of the model.
        palette: RGB colours of the labels. Default: shades of grey.
        reduce_zero_label: whether the data set's masks count from 1. Default: False.
    """
    values = pixel_values(labels, num_classes, reduce_zero_label)
    image = Image.fromarray(values)
    if palette is not None and num_classes <= IGNORED:
        colours = pixel_colours(palette, reduce_zero_label)
        if values.max(initial=0) >= len(colours):  # Pillow saves no more bits than the palette needs: 255 would be 3
            colours += [(0, 0, 0)] * (256 - len(colours))
        image.putpalette([value for colour in colours for value in colour])
    return image


def pixel_values(labels: np.ndarray, num_classes: int, reduce_zero_label: bool = False) -> np.ndarray:
    """The values of pixels, uint8, or uint16 for more than 255 classes; arguments as for `segment_map`."""
    values = np.asarray(labels).astype(np.uint16)
    if reduce_zero_label:
        values = np.where(values < num_classes, values + 1, 0)
    return values.astype(np.uint16 if num_classes > IGNORED else np.uint8)


def pixel_colours(palette: Sequence[Sequence[int]], reduce_zero_label: bool = False) -> list[Sequence[int]]:
    """The RGB colours of the values of pixels from 0."""
    return [(0, 0, 0)] * reduce_zero_label + [*palette]


def read_segment_map(path: str | os.PathLike, reduce_zero_label: bool = False) -> np.ndarray:
    """The labels ``(H, W)``, int64, in a file of `segment_map`; -1 for 0 with `reduce_zero_label`.

    Raises:
        DataError: it is missing or unreadable.
    """
    try:
        with open_picture(read_bytes(path)) as image:
            return np.asarray(image).astype(np.int64) - reduce_zero_label
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f'{path}: missing or unreadable ({error})') from error


def meaning(reduce_zero_label: bool) -> str:
    """What the values of pixels mean, for messages."""
    return 'a pixel has its label + 1, as in the masks of the data set (reduce_zero_label); 0: none' \
        if reduce_zero_label else 'a pixel has its label; 255: none'
