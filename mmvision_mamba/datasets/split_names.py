"""Splits of a data set of one's own, as names of files and folders tell them."""
import re
from pathlib import PurePosixPath

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
