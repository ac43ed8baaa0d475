"""Splits of a data set of one's own, as names of files and folders tell them."""
import re
from pathlib import PurePosixPath

from ..errors import DataError

SPLIT_NAMES = dict(train=('train', 'training'), val=('val', 'valid', 'validation', 'eval', 'dev', 'minival'),
                   test=('test', 'testing'))


def words(name: str) -> list[str]:
    """Words of a name in lower case: 'jpeg' and 'images' of 'JPEGImages', 'train' of 'instances_train2017'."""
    return [word.lower() for word in re.findall(r'[A-Z]+(?![a-z])|[A-Z]?[a-z]+', name)]


def split_of(path: str) -> str | None:
    """The split that a relative path names, None without one; the last folder or file name with one counts."""
    for part in reversed(PurePosixPath(path).parts):
        for split, names in SPLIT_NAMES.items():
            if not set(names).isdisjoint(words(part)):
                return split
    return None


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
