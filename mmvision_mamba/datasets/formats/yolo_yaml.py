"""YOLO's data.yaml: the classes of a data set, and the images of its splits."""
import os.path as osp
import posixpath
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...errors import DataError
from ...limits import CATEGORIES
from ...printable import shown
from ...text import shortened
from ..folders import IMAGES, find_files, plain_name, read_lines, walk
from ..split_names import split_of
from .reading import YAML_BYTES, read_yaml

KEYS = dict(train=('train',), val=('val', 'valid', 'validation'), test=('test',))
_DEEPEST = 8  # folders that the end of a path of another machine is taken to have


class Described(NamedTuple):
    """One split of a data set, without its labels.

    Attributes:
        names: of the classes. None: nothing names them.
        images: relative to the data set's folder; there may be no such file.
        keypoints: numbers behind a box that are keypoints. Default: 0.
        unused: images with labels that are of no split. Default: none.
    """
    names: list[str] | None
    images: list[str]
    keypoints: int = 0
    unused: Sequence[str] = ()


def find(root: str, depth: int = 1) -> dict[str, str]:
    """{split: data.yaml, relative to `root`}.

    Args:
        root: the folder.
        depth: levels of folders below it that are looked into. Default: 1.

    Raises:
        DataError: several could be meant, or the only one is broken.
    """
    files = [posixpath.join(folder, name) for folder, names in walk(root, depth) for name in names
             if name.lower().endswith(('.yaml', '.yml'))]
    files.sort(key=lambda file: (file.count('/'), file not in ('data.yaml', 'dataset.yaml'), file))
    found, broken, left = {}, None, YAML_BYTES
    for file in files:
        path = osp.join(root, file)
        left -= osp.getsize(path) if osp.isfile(path) else 0
        if left < 0 and file != files[0]:
            break  # what others keep there takes its time to be read: seconds for each of many
        try:
            content = read_yaml(path)
        except DataError as error:
            broken = broken or (error if file.startswith('data.') else None)
            continue
        if content.get('names') and any(_entries(content, split) for split in KEYS):
            found[file] = [split for split in KEYS if _entries(content, split)]
    if not found and broken:
        raise broken
    best = next(iter(found), None)
    rivals = [file for file in found if file.count('/') == best.count('/')] if best else []
    if len(rivals) > 1 and best not in ('data.yaml', 'dataset.yaml'):
        raise DataError(f'{root}: several files could describe the data: {shortened(rivals)}.\nChoose: set '
                        f'custom_data.train={best}#yolo-train and custom_data.val={best}#yolo-val')
    return dict.fromkeys(found[best], best) if best else {}


def described(path: str, split: str) -> Described:
    """A split of the data set that the file at `path` describes; raises DataError."""
    content = read_yaml(path)
    base = content.get('path') if isinstance(content.get('path'), str) else ''
    _check_apart(path, content, split, base)
    return Described(_names(path, content), images_of(path, split, _entries(content, split), base), _keypoints(content))


def _names(path: str, content: dict) -> list[str]:
    """The classes in the order of their numbers; a number without a name gets that as its name."""
    names = content['names']
    if isinstance(names, dict):
        wrong = [key for key in names if not (key.isascii() and key.isdecimal() and len(key) < 9)]
        if wrong:
            raise DataError(f'{path}: names has the key {shown(wrong[0], 40)!r}, where the number of a class is '
                            'expected')
        numbers = {int(key): name for key, name in names.items()}
        if max(numbers, default=0) >= CATEGORIES.value:
            raise DataError(f'{path}: names has a class {max(numbers)}, and {CATEGORIES.value} classes are allowed '
                            f'({CATEGORIES.way_out})')
        names = [numbers.get(number, f'class_{number}') for number in range(max(numbers, default=-1) + 1)]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise DataError(f'{path}: names is no list of names, and no names by number')
    if not all(map(str.strip, names)):
        raise DataError(f'{path}: the class {[*map(str.strip, names)].index("")} of names has an empty name')
    count = content.get('nc')
    if isinstance(count, str) and count.strip().isdecimal() and count.strip() != str(len(names)):
        raise DataError(f'{path}: nc is {shown(count, 20)}, and names has {len(names)}.\nCorrect one of the two')
    return [name.strip() for name in names]


def _keypoints(content: dict) -> int:
    """Numbers behind a box that are keypoints."""
    shape = content.get('kpt_shape')
    if isinstance(shape, list) and len(shape) == 2 and all(
            isinstance(n, str) and n.isascii() and n.isdecimal() and len(n) < 5 for n in shape):
        return int(shape[0]) * int(shape[1])
    return 0


def _entries(content: dict, split: str) -> list[str]:
    value = next((content[key] for key in KEYS[split] if content.get(key)), None)
    values = value if isinstance(value, list) else [value]
    return [entry for entry in values if isinstance(entry, str) and entry not in ('', 'null', '~')]


def _check_apart(path: str, content: dict, split: str, base: str) -> None:
    """Raise DataError where entries of two splits lead to one place, and name no one split: an own one is not there."""
    folder = osp.dirname(path) or '.'
    own = {resolved(entry, folder, base): entry for entry in _entries(content, split)}
    own.pop(None, None)
    for other in KEYS:
        for entry in _entries(content, other) if other != split else ():
            mine = own.get(resolved(entry, folder, base))
            if mine is not None and split_of(mine) != split_of(entry):
                raise DataError(f'{path}: {split} is {shown(mine)!r} and {other} is {shown(entry)!r}, and there is but '
                                f'{shown(resolved(entry, folder, base))}.\nCorrect them, or give both the same')


def images_of(path: str, split: str, entries: list[str], base: str = '') -> list[str]:
    """The images of a split in order, relative to the folder of the file that describes the data set.

    Args:
        path: of that file.
        split: for messages.
        entries: folders of images, or text files that list them, as that file names them.
        base: the folder that it says they start from. Default: its own.

    Raises:
        DataError: there are none, or an entry is not there.
    """
    folder = osp.dirname(path) or '.'
    if not entries:
        raise DataError(f'{path}: it has no {split}')
    found: dict[str, None] = {}
    read = set()
    for entry in dict.fromkeys(entries):
        place = resolved(entry, folder, base)
        if place in read:
            continue
        read.add(place)
        if place is None:
            raise DataError(f'{path}: {split} is {shown(entry)!r}, and there is no such file or folder in {folder}.\n'
                            'Expected: a folder of images, or a text file that lists them')
        if osp.isdir(place):
            files = [posixpath.join(place, file) for file in find_files(place, IMAGES)]
            if not files:
                raise DataError(f'{path}: {split} is {shown(entry)!r}, and there are no images in {place}')
        else:
            parent = osp.dirname(place)
            files = [resolved(line, parent, folder) or posixpath.join(parent, plain_name(line))
                     for line in dict.fromkeys(read_lines(place)) if not line.startswith('#')]
        found.update(dict.fromkeys(_relative(file, folder) for file in files))
    return list(found)


def _relative(file: str, folder: str) -> str:
    try:
        return osp.relpath(file, folder).replace(osp.sep, '/')
    except ValueError:  # on another drive of Windows
        return file


def resolved(entry: str, folder: str, base: str = '') -> str | None:
    """Where an entry lies, which its writer's machine, or another folder than this, may have given its beginning."""
    entry, base = entry.replace('\\', '/'), base.replace('\\', '/')
    for candidate in _candidates(entry, folder, base):
        if osp.exists(candidate):
            return osp.normpath(candidate).replace(osp.sep, '/')
    return None


def _candidates(entry: str, folder: str, base: str) -> Iterator[str]:
    inside = plain_name(entry)
    while inside.startswith('../'):
        inside = inside[3:]
    if base:
        yield osp.join(folder, base, entry)
        yield osp.join(osp.dirname(osp.abspath(folder)), base, entry)
    if inside != entry:  # '../train/images': some exporters mean the folder of data.yaml
        yield osp.join(folder, inside.lstrip('/'))
    yield osp.join(folder, entry)
    parts = inside.strip('/').split('/')
    for i in range(max(1, len(parts) - _DEEPEST), len(parts)):
        yield posixpath.join(folder, *parts[i:])
