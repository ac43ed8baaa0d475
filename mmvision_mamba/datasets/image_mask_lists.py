"""Lists of images, or of images and masks, in text files."""
import os.path as osp
import posixpath
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from ..errors import DataError
from ..printable import shown
from .folders import IMAGES, plain_name, read_lines

MASKS = ('.png', '.bmp', '.tif', '.tiff', '.gif', '.webp', '.jpg', '.jpeg')
_DEEPEST = 4  # folders above a file that an end of its path names, where that begins elsewhere


class Pairs(NamedTuple):
    """Images and their masks.

    Attributes:
        pairs: (image, mask) paths, in the order of the list, or else sorted; there may be no such file.
        masks: paths of the masks that are there.
        notes: on files that are no part of the pairs, for the user.
    """
    pairs: list[tuple[str, str]]
    masks: list[str]
    notes: list[str]


def listed(names_file: str, named: Mapping[str, list[str]], folder: str) -> list[str]:
    """The image files that a list names, one a line; a name of which there is no file as it stands.

    A name is a path from the folder of images, one that names that folder too, or an absolute one, also of another
    machine; with or without suffix. Labels behind names (`name 1`, as in VOC's lists of a class), lines that begin with
    `#` and blank lines say nothing.

    Args:
        names_file: the list.
        named: {name without suffix: the images of that name}, from the folder of images.
        folder: of the images.

    Raises:
        DataError: the list can't be read, or names no image.
    """
    lines = [line for line in read_lines(names_file) if not line.startswith('#') or plain_name(line) in named]
    found = {line: _images_of(line, named, folder) for line in lines}
    if lines and not any(found.values()):
        raise DataError(f'{names_file}: none of its {len(lines)} lines names an image in {folder}, such as '
                        f'{lines[0]!r}.\nA line is the path of an image from that folder, with or without suffix')
    return [file for line in lines for file in found[line] or [plain_name(line)]]


def pairs_of(names_file: str) -> list[tuple[str, str]] | None:
    """(image, mask) of each line of a list whose lines name two files; None for other lists.

    Raises:
        DataError: it can't be read, or only some of its lines do.
    """
    lines = [line for line in read_lines(names_file) if not line.startswith('#')]
    both = [_pair(line) for line in lines]
    if not lines or both[0] is None:
        return None
    if None in both:
        raise DataError(f'{names_file}: {shown(lines[both.index(None)], 100)!r} is no pair of an image and a mask, as '
                        f'its first line is.\nA line is IMAGE MASK, with white space, a comma or a tab between')
    return both  # type: ignore[return-value]


def _pair(line: str) -> tuple[str, str] | None:
    for separator in ('\t', ',', ';', None):
        names = [plain_name(name.strip()) for name in line.split(separator)]
        if len(names) == 2 and all(name.lower().endswith((*IMAGES, *MASKS)) for name in names):
            return names[0], names[1]
    return None


def listed_pairs(both: list[tuple[str, str]], images: str, beside: str) -> Pairs:
    """The files that pairs name, from the list's own folder, or one of those above the images.

    Where none is there, the name may begin on another machine, or in a folder above: its end counts, from the list's
    folder, with one folder in it at least.
    """
    above = [images]
    for _ in range(3):
        above.append(osp.dirname(above[-1]))
    folders = [beside, *above]

    def place(name):
        parts = name.split('/')
        ends = (posixpath.join(beside, *parts[i:]) for i in range(max(1, len(parts) - _DEEPEST), len(parts) - 1))
        places = (*(osp.join(folder, name) for folder in folders), *ends)
        return next(filter(osp.isfile, places), places[0])

    pairs = [(place(image), place(mask)) for image, mask in both]
    return Pairs(pairs, [mask for _, mask in pairs if osp.isfile(mask)], [])


def _images_of(line: str, named: Mapping[str, list[str]], folder: str) -> list[str]:
    """The image files that a line of a list means; none where there is no such file."""
    for name in dict.fromkeys((line, _without_number(line))):
        for candidate in _relative(plain_name(name), folder):
            stem, suffix = posixpath.splitext(candidate)
            if candidate in named:
                return named[candidate]
            if suffix.lower() in IMAGES and stem in named:
                return [candidate] if candidate in named[stem] else named[stem]
    return []


def _without_number(line: str) -> str:
    """A line without the number behind a space or comma at its end; no pattern, which tries each of many spaces."""
    rest = line.rstrip('0123456789')
    bare = rest.removesuffix('-').rstrip()
    if rest == line or not (bare.endswith(',') or bare != rest.removesuffix('-')):
        return line
    return bare.removesuffix(',').rstrip()


def _relative(name: str, folder: str) -> Iterator[str]:
    """Paths from a folder that a name may mean: as it is, and without the folder's own path, or the end of that."""
    folder = plain_name(osp.abspath(folder))
    yield name
    if osp.isabs(name):
        for own in (folder, plain_name(osp.realpath(folder))):
            if name.startswith(f'{own}/'):
                yield name[len(own) + 1:]
    parts = folder.split('/')
    for i in range(min(len(parts), 3), 0, -1):
        end = '/'.join(parts[-i:]) + '/'
        if name.startswith(end):
            yield name[len(end):]
        elif (osp.isabs(name) or re.match('[A-Za-z]:/', name)) and f'/{end}' in name:  # of another machine
            yield name.split(f'/{end}', 1)[1]
