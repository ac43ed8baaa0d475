"""Groups of images that belong together, such as those of one scene or patient, by a file that names them."""
import csv
import posixpath
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import DataError
from ..printable import shown
from .folders import plain_name, read_lines
from .split_names import split_of

_TITLES = ('image', 'images', 'file', 'filename', 'file_name', 'name', 'path', 'image_id')  # of a first column


class Groups(NamedTuple):
    """Groups of images.

    Attributes:
        of: {image: its group} of those that the file names.
        unnamed: the other images.
        unknown: names in the file that no image has.
    """
    of: dict[str, str]
    unnamed: list[str]
    unknown: list[str]


def read_groups(path: str, images: Iterable[str], folder: str = '') -> Groups:
    """Read a file whose lines are an image and its group, with a comma, a semicolon, a tab or white space between.

    An image is named by its path from the folder of images, or by the end of it, with or without suffix, or by a longer
    path that ends so, but for one in a folder of another split. What is the path of an image names no other; of
    several that fit, the one with which it shares the longest end counts. Lines that begin with `#`, and a first line
    of titles, say nothing.

    Args:
        path: of the file.
        images: their names.
        folder: that the names start from, relative to the data. Default: the names start there.

    Raises:
        DataError: it can't be read, a line is no image and group or its name fits two images, an image has two groups,
            or no line names an image.
    """
    images = list(images)
    known = _by_name(images)
    groups, unknown = {}, []
    lines = [line for line in read_lines(path) if not line.startswith('#')]
    for number, line in enumerate(lines):
        name, group = _parts(path, line)
        found = _fitting(plain_name(name), known, folder)
        if not found:
            if number or name.lower() not in _TITLES:
                unknown.append(name)
            continue
        if len(found) > 1:
            raise DataError(f'{path}: {shown(line, 100)!r} fits {len(found)} images, {shown(found[0])} and '
                            f'{shown(found[1])}: give the path from the folder of images')
        if groups.setdefault(found[0], group) != group:
            raise DataError(f'{path}: {shown(found[0])} is in two groups, {shown(groups[found[0]])} and {shown(group)}')
    if not groups:
        raise DataError(f'{path}: none of its {len(lines)} lines names an image'
                        f'{f", such as {shown(images[0])}" if images else ""}.\nExpected: lines IMAGE,GROUP')
    return Groups(groups, [image for image in images if image not in groups], unknown)


def _parts(path: str, line: str) -> tuple[str, str]:
    separator = next((mark for mark in '\t,;' if mark in line), None)
    try:
        parts = line.rsplit(None, 1) if separator is None else next(
            csv.reader([line], delimiter=separator, skipinitialspace=True))
    except csv.Error:
        parts = []
    parts = [part.strip().strip('"') for part in parts]
    if len(parts) != 2 or not all(parts):
        raise DataError(f'{path}: {shown(line, 100)!r} is no image and its group, with a comma or white space between'
                        + (f': it has {len(parts)} columns' if len(parts) > 2 else ''))
    return parts[0], parts[1]


def _by_name(images: list[str]) -> dict[str, list[str]]:
    """{the name of a file, with or without suffix: the images that are called so}."""
    known: dict[str, list[str]] = {}
    for image in images:
        base = posixpath.basename(image)
        for key in dict.fromkeys((base, posixpath.splitext(base)[0])):
            known.setdefault(key, []).append(image)
    return known


def _fitting(name: str, known: dict[str, list[str]], folder: str) -> list[str]:
    """The images that a name fits best: one, none, or several."""
    *above, base = name.split('/')
    split = split_of('/'.join(above))
    for key in dict.fromkeys((base, posixpath.splitext(base)[0])):
        fits: dict[int, list[str]] = {}
        for image in known.get(key, ()):
            own = image.split('/')[:-1]
            place = [*filter(None, folder.split('/')), *own]
            shared = next((i for i, (one, other) in enumerate(zip(reversed(above), reversed(place))) if one != other),
                          min(len(above), len(place)))
            if above == own:
                return [other for other in known[key] if other.split('/')[:-1] == own]
            if shared >= min(len(above), len(own)) and (None in (split, split_of('/'.join(place)))
                                                        or split == split_of('/'.join(place))):
                fits.setdefault(shared, []).append(image)
        if fits:
            return fits[max(fits)]
    return []
