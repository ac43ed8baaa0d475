"""Images of 16 bits whose values fill 12 or fewer, and come out nearly black."""
import os.path as osp
from collections.abc import Sequence

from ..datasets.image_files import darkness, file_content, range_of_16_bits
from ..datasets.image_loader import image_loader
from ..processes import warn_once

_SAMPLE = 8  # images of a data set that are looked at
_EIGHT_BITS = ('.jpg', '.jpeg', '.jfif', '.jpe', '.bmp', '.gif', '.webp')


def reads_eight_bits(dataset: dict) -> bool:
    """Whether a data set's pipeline loads images as 8 bits."""
    loader = image_loader(dataset)
    return loader is not None and not loader.color_type.startswith('unchanged')


def darkness_of(ranges: Sequence[tuple[int, int]]) -> str | None:
    """How dark images of 16 bits come out, by the ranges of their values; None where they don't, and without any."""
    return darkness(min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None


def warn_of_depth(source: str, paths: Sequence[str], dataset: dict) -> None:
    """Log a warning, with the range of the values, where a sample of a data set's images comes out nearly black.

    Args:
        source: annotation file or folder, to name it.
        paths: of all images.
        dataset: its config.
    """
    paths = [path for path in paths if osp.splitext(path)[1].lower() not in _EIGHT_BITS]
    if not paths or not reads_eight_bits(dataset):
        return
    sample = [path for path in paths[::max(len(paths) // _SAMPLE, 1)][:_SAMPLE] if osp.isfile(path)]
    ranges = [found for path in sample if (found := _range_of(path))]
    if problem := darkness_of(ranges):
        warn_once(f'{source}: {len(ranges)} of {len(sample)} images looked at have 16 bits; {problem}')


def _range_of(path: str) -> tuple[int, int] | None:
    try:
        return range_of_16_bits(file_content(path))
    except OSError:  # what reads all images says so
        return None
