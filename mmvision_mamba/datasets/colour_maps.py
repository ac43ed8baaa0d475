"""Masks that are pictures: each class has a colour."""
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..errors import DataError
from ..files import read_bytes
from ..text import shortened
from .image_files import open_picture


def labels_of_colours(content: bytes, colours: Sequence[Sequence[int]]) -> np.ndarray:
    """Labels (H, W), uint8, of a mask's file: for each pixel the position of its colour.

    Args:
        content: of the file, in any mode that Pillow turns into RGB, a palette among them.
        colours: (R, G, B) of each label, 0 to 255; up to 255 of them.

    Raises:
        DataError: it is no image, or has other colours; without the file's name.
    """
    with open_picture(content) as image:
        pixels = np.asarray(image.convert('RGB')).astype(np.int32)
    codes = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
    known = np.array([red << 16 | green << 8 | blue for red, green, blue in colours], np.int32)
    order = np.argsort(known)
    places = np.searchsorted(known[order], codes).clip(max=len(known) - 1)
    wrong = known[order][places] != codes
    if wrong.any():
        others, counts = np.unique(codes[wrong], return_counts=True)
        named = [f'{(int(code) >> 16, int(code) >> 8 & 255, int(code) & 255)} ({count} pixels)'
                 for code, count in sorted(zip(others, counts), key=lambda pair: -pair[1])]
        raise DataError(f'the mask has colours of no class: {shortened(named, 4)}. Add them to the labels, or export '
                        'the masks without smoothing')
    return order[places].astype(np.uint8)


def are_coloured(mask: str) -> bool:
    """Whether a mask has colours or a palette, rather than numbers; False for one that can't be read."""
    try:
        with open_picture(read_bytes(mask)) as image:
            return image.mode in ('RGB', 'RGBA', 'P', 'PA', 'CMYK', 'YCbCr')
    except Exception:  # Pillow's plug-ins may raise anything
        return False


def count_colours(masks: Sequence[str], colours: Sequence[Sequence[int]], refuse_broken: bool = False) -> np.ndarray:
    """Pixels of each label in masks.

    Args:
        masks: their paths.
        colours: see `labels_of_colours`.
        refuse_broken: raise for files that are no images, too, rather than leave them to later checks. Default: False.

    Raises:
        DataError: a mask has colours of no class; names the file.
    """
    def count(path: str) -> np.ndarray:
        try:
            content = read_bytes(path)
            with open_picture(content) as image:
                image.load()
        except Exception as error:  # Pillow's plug-ins may raise anything
            if refuse_broken:
                raise DataError(f'{path}: it is not an image, or damaged ({error}). Replace the file, or leave such '
                                'files out with --skip-bad-images') from error
            return np.zeros(len(colours), np.int64)
        try:
            return np.bincount(labels_of_colours(content, colours).ravel(), minlength=len(colours))
        except DataError as error:
            raise DataError(f'{path}: {error}') from error

    with ThreadPoolExecutor() as pool:
        return sum(pool.map(count, masks), np.zeros(len(colours), np.int64))
