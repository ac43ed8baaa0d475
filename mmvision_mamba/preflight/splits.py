"""Whether a data set of one's own has what it takes to train and to validate."""
import os.path as osp
from collections.abc import Iterable, Mapping

from ..errors import DataError
from ..printable import shown
from ..processes import warn_once
from .datasets import SPLITS


def stand_in_for_tests(splits: dict) -> bool:
    """Where there is no split to train or to validate with, let what is there to test on stand for both, in place.

    Returns:
        whether it does so.
    """
    if not splits or {'train', 'val'} <= splits.keys():
        return False
    found = next(splits[split] for split in ('test', 'val', 'all', 'train') if split in splits)
    splits.update(dict.fromkeys(SPLITS, found))
    return True


def check_splits(root: str, splits: dict[str, str]) -> None:
    """Raise DataError where there is nothing to train or validate with, with the way out.

    Args:
        root: the folder.
        splits: {split: its file or folder below `root`}; 'all' for one that names no split.
    """
    contents = f'there is {", ".join(splits.values())}'
    if 'train' not in splits and 'all' in splits and 'val' in splits:
        raise DataError(f'{root}: {contents}, and nothing to train with. Name it: set custom_data.train='
                        f'{splits["all"]}')
    if 'val' not in splits:
        also = f'\nOr validate with that for testing: set custom_data.val={splits["test"]}' if 'test' in splits else ''
        raise DataError(f'{root}: {contents}, and nothing to validate with (no validation split).\nTo set a part of it '
                        f'aside: mmvision-mamba split-dataset {root} --val 0.2{also}')
    if 'train' not in splits:
        raise DataError(f'{root}: {contents}, and nothing to train with. Name it: set custom_data.train=FILE')


def warn_of_shared(images: Mapping[str, Iterable[str]]) -> None:
    """Log a warning where images are both trained on and validated with, as in YOLO's small examples.

    Args:
        images: {split: paths of its images}.
    """
    train, val = (set(map(osp.normpath, images.get(split, ()))) for split in ('train', 'val'))
    if shared := train & val:
        warn_once(f'{len(shared)} of {len(val)} images to validate with are trained on, too, such as '
                  f'{shown(min(shared))}: metrics say little of other images')
