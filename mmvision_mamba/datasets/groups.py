"""Groups of images that belong together, such as those of one scene or patient, by a file that names them."""
import posixpath
from collections.abc import Iterable
from typing import NamedTuple

from ..errors import DataError
from ..printable import shown
from .folders import plain_name, read_lines

_TITLES = ('image', 'images', 'file', 'filename', 'file_name', 'name', 'path', 'image_id')  # of a first column
_DEPTH = 64  # parts of a path that its ends have


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


def read_groups(path: str, images: Iterable[str]) -> Groups:
    """Read a file whose lines are an image and its group, with a comma, a semicolon, a tab or white space between.

    An image is named by its path from the folder of images, or by the end of it, with or without suffix; what is the
    path of an image names no other, and of ends the longest counts. Lines that begin with `#`, and a first line of
    titles, say nothing.

    Args:
        path: of the file.
        images: their names.

    Raises:
        DataError: it can't be read, a line is no image and group or its name fits two images, an image has two groups,
            or no line names an image.
    """
    images = list(images)
    paths, ends = _by_name(images)
    groups, unknown = {}, []
    lines = [line for line in read_lines(path) if not line.startswith('#')]
    for number, line in enumerate(lines):
        name, group = _parts(path, line)
        found = next((images for key in _ends(name) for images in (paths.get(key), ends.get(key)) if images), [])
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
    parts = [part.strip().strip('"') for part in line.rsplit(separator, 1)]
    if len(parts) < 2 or not all(parts):
        raise DataError(f'{path}: {shown(line, 100)!r} is no image and its group, with a comma or white space between')
    return parts[0], parts[1]


def _by_name(images: list[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """{a path, with or without suffix: the images it fits} and {the end of one: the images it fits}."""
    paths: dict[str, list[str]] = {}
    ends: dict[str, list[str]] = {}
    for image in images:
        whole, plain, *others = _ends(image)
        for keys, known in (((whole, plain), paths), (others, ends)):
            for key in dict.fromkeys(keys):
                known.setdefault(key, []).append(image)
    return paths, ends


def _ends(name: str) -> list[str]:
    """A path and its ends, the longest first, each with and without suffix."""
    parts = plain_name(name).split('/')
    starts = dict.fromkeys((0, *range(max(len(parts) - _DEPTH, 0), len(parts))))
    ends = ['/'.join(parts[start:]) for start in starts]
    return [key for end in ends for key in (end, posixpath.splitext(end)[0])]
