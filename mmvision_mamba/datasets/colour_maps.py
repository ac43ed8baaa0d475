"""Masks that are pictures: each class has a colour."""
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ..errors import DataError
from ..files import read_bytes
from .image_files import open_picture

_STRIP = 2**20  # pixels that are computed with at a time, at some 40 bytes each
_NAMED = 4  # colours in a message


def labels_of_colours(content: bytes, colours: Sequence[Sequence[int]],
                      labels: Sequence[int] | None = None) -> np.ndarray:
    """Labels (H, W), uint8, of a mask's file: for each pixel that of its colour.

    Args:
        content: of the file, in any mode that Pillow turns into RGB, a palette among them.
        colours: (R, G, B), 0 to 255; up to 255 of them.
        labels: of the colours. Default: their positions.

    Raises:
        DataError: it is no image, or has other colours; without the file's name.
    """
    known = np.array([red << 16 | green << 8 | blue for red, green, blue in colours], np.int32)
    order = np.argsort(known)
    ordered = (np.arange(len(known)) if labels is None else np.array(labels))[order].astype(np.uint8)
    with open_picture(content) as image:
        width, height = image.size
        seg_map = np.empty((height, width), np.uint8)
        step = max(1, _STRIP // width)
        for top in range(0, height, step):
            strip = image.crop((0, top, width, min(top + step, height))).convert('RGB')
            pixels = np.asarray(strip).astype(np.int32)
            codes = pixels[..., 0] << 16 | pixels[..., 1] << 8 | pixels[..., 2]
            places = np.searchsorted(known[order], codes).clip(max=len(known) - 1)
            wrong = known[order][places] != codes
            if wrong.any():
                raise DataError(f'the mask has colours of no class: {_most_frequent(codes[wrong])}. Add them to the '
                                'labels, or export the masks without smoothing')
            seg_map[top:top + step] = ordered[places]
    return seg_map


def _most_frequent(codes: np.ndarray) -> str:
    others, counts = np.unique(codes, return_counts=True)
    first = np.argsort(-counts, kind='stable')[:_NAMED]
    named = [f'{(code >> 16, code >> 8 & 255, code & 255)} ({count} pixels)'
             for code, count in zip(others[first].tolist(), counts[first].tolist())]
    return ', '.join(named) + (f', … ({len(others)} in all)' if len(others) > len(named) else '')


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
            labels = labels_of_colours(content, colours)
        except DataError as error:
            raise DataError(f'{path}: {error}') from error
        step = max(1, _STRIP // labels.shape[1])  # NumPy counts integers of 8 bytes
        return sum(np.bincount(labels[top:top + step].ravel(), minlength=len(colours))
                   for top in range(0, len(labels), step))

    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        return sum(pool.map(count, masks), np.zeros(len(colours), np.int64))
