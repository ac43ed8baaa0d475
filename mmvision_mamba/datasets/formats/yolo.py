"""YOLO: a data.yaml, and for each image a text file with a line for each object, in fractions of the image.

A line is the number of a class and a box (centre x, centre y, width, height) or a polygon (x1, y1, x2, y2, …).
"""
import math
import os.path as osp
import posixpath
from collections.abc import Iterator, Sequence

import numpy as np

from ...errors import DataError
from ...limits import CATEGORIES, OBJECTS, POINTS
from ...printable import shown
from ...text import shortened
from ..folders import IMAGES, find_files, plain_name, read_lines, walk
from ..json_numbers import plain_float
from .content import Builder, Content
from .images import size_of, stem_of
from .reading import YAML_BYTES, Unreadable, read_label_text, read_yaml

_KEYS = dict(train=('train',), val=('val', 'valid', 'validation'), test=('test',))
_NO_LABELS = ('classes', 'obj', 'train', 'val', 'valid', 'test', 'notes', 'readme')  # other text files beside labels
_DEEPEST = 8  # folders that the end of a path of another machine is taken to have
_FARTHEST = 0.5  # sides of its image that a point may lie outside, before it is taken for pixels


def find(root: str) -> dict[str, str]:
    """{split: data.yaml, relative to `root`}.

    Raises:
        DataError: several could be meant, or the only one is broken.
    """
    files = [posixpath.join(folder, name) for folder, names in walk(root, 1) for name in names
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
        if content.get('names') and any(_entries(content, split) for split in _KEYS):
            found[file] = [split for split in _KEYS if _entries(content, split)]
    if not found and broken:
        raise broken
    best = next(iter(found), None)
    rivals = [file for file in found if file.count('/') == best.count('/')] if best else []
    if len(rivals) > 1 and best not in ('data.yaml', 'dataset.yaml'):
        raise DataError(f'{root}: several files could describe the data: {shortened(rivals)}.\nChoose: set '
                        f'custom_data.train={best}#yolo-train and custom_data.val={best}#yolo-val')
    return dict.fromkeys(found[best], best) if best else {}


def read(path: str, split: str) -> Content:
    """The annotations of a split: 'train', 'val' or 'test'."""
    content = read_yaml(path)
    builder, folder = Builder(_names(path, content)), osp.dirname(path)
    keypoints = _keypoints(content)
    images = _images(path, content, split)
    known, labels = set(images), _Labels(folder)
    missing, unreadable, scores = [], [], 0
    for image in images:
        label = labels.of(image)
        size = size_of(osp.join(folder, image))
        if size is None:
            (unreadable if osp.exists(osp.join(folder, image)) else missing).append(image)
            continue
        builder.add_image(image, *size, label or '')
        if label:
            scores += _add_objects(builder, osp.join(folder, label), label, size, keypoints)
    if len(missing) == len(images):
        raise DataError(f'{path}: none of the {len(images)} images of {split} is there; looked for {shown(missing[0])}')
    builder.left_out(missing, f'{len(missing)} images that a list of {path} names are not there')
    builder.left_out(unreadable, f'{len(unreadable)} images cannot be read')
    orphans = [label for label in labels.beside(known) if stem_of(label) not in _NO_LABELS]
    builder.left_out(orphans, f'{len(orphans)} label files have no image')
    if scores:
        builder.content.notes.append(f'{scores:,} boxes with a score, which is not used')
    _outline_boxes(builder.content)
    return builder.finished()


def _outline_boxes(content: Content) -> None:
    """Give boxes among polygons a polygon of four corners: some exporters write rectangles so."""
    annotations = content['annotations']
    plain = [a for a in annotations if 'segmentation' not in a]
    if not plain or len(plain) == len(annotations):
        return
    for annotation in plain:
        x, y, w, h = annotation['bbox']
        annotation['segmentation'] = [np.array([x, y, x + w, y, x + w, y + h, x, y + h])]
    content.notes.append(f'{len(plain):,} boxes among polygons, taken for rectangles')


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
    value = next((content[key] for key in _KEYS[split] if content.get(key)), None)
    values = value if isinstance(value, list) else [value]
    return [entry for entry in values if isinstance(entry, str) and entry not in ('', 'null', '~')]


def _images(path: str, content: dict, split: str) -> list[str]:
    """The images of a split, relative to the folder of data.yaml, in order."""
    folder, entries = osp.dirname(path) or '.', _entries(content, split)
    if not entries:
        raise DataError(f'{path}: it has no {split}')
    base = content.get('path') if isinstance(content.get('path'), str) else ''
    found: dict[str, None] = {}
    read = set()
    for entry in dict.fromkeys(entries):
        place = _resolved(entry, folder, base)
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
            files = [_resolved(line, parent, folder) or posixpath.join(parent, plain_name(line))
                     for line in dict.fromkeys(read_lines(place)) if not line.startswith('#')]
        found.update(dict.fromkeys(_relative(file, folder) for file in files))
    return list(found)


def _relative(file: str, folder: str) -> str:
    try:
        return osp.relpath(file, folder).replace(osp.sep, '/')
    except ValueError:  # on another drive of Windows
        return file


def _resolved(entry: str, folder: str, base: str) -> str | None:
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


class _Labels:
    """The label files for images: in a folder 'labels' instead of 'images', or beside them.

    Args:
        folder: that all names start from.
    """

    def __init__(self, folder: str):
        self._folder, self._listed = folder, {}

    def of(self, image: str) -> str | None:
        stem = posixpath.splitext(image)[0]
        for label in dict.fromkeys((f'{_labels_for(stem)}.txt', f'{stem}.txt')):
            if label in self._files_in(posixpath.dirname(label)):
                return label
        return None

    def _files_in(self, folder: str) -> set[str]:
        if folder not in self._listed:
            listed = next(iter(walk(osp.join(self._folder, folder), 0)), ('', []))[1] if osp.isdir(
                osp.join(self._folder, folder)) else []
            self._listed[folder] = {posixpath.join(folder, name) for name in listed if name.lower().endswith('.txt')}
        return self._listed[folder]

    def beside(self, images: set[str]) -> list[str]:
        """The label files in the folders that were looked into which belong to none of the images, nor to others."""
        stems = {posixpath.splitext(image)[0] for image in images}
        used = {f'{_labels_for(stem)}.txt' for stem in stems} | {f'{stem}.txt' for stem in stems}
        unused = sorted(set().union(*self._listed.values()) - used) if self._listed else []
        others = {_labels_for(posixpath.splitext(file)[0]) for file in find_files(self._folder or '.', IMAGES)} \
            if unused else set()
        return [label for label in unused if posixpath.splitext(label)[0] not in others]


def _labels_for(stem: str) -> str:
    parts = stem.split('/')
    for i in range(len(parts) - 2, -1, -1):
        if parts[i] == 'images':
            return '/'.join([*parts[:i], 'labels', *parts[i + 1:]])
    return stem


def _add_objects(builder: Builder, path: str, label: str, size: tuple[int, int], keypoints: int) -> int:
    """Add the objects of a label file to the last image; returns how many have a score."""
    try:
        lines = read_label_text(path).splitlines()
    except Unreadable as error:
        builder.refuse(label, str(error))
        return 0
    if len(lines) > OBJECTS.value:
        builder.refuse(label, f'it has {len(lines)} lines, and {OBJECTS.value} objects are allowed ({OBJECTS.way_out})')
        return 0
    scores = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f'line {number}'
        try:
            category, values = _numbers(line)
            if keypoints and len(values) == 4 + keypoints:
                values = values[:4]
            if len(values) == 5:
                values, scores = values[:4], scores + 1
            _check_range(values)
        except Unreadable as error:
            builder.refuse(f'{label}, {place}', str(error))
            continue
        width, height = size
        if len(values) == 4:
            x, y, w, h = values
            builder.add_object(category, place, ((x - w / 2) * width, (y - h / 2) * height, w * width, h * height))
        else:
            polygon = [value * (height if i % 2 else width) for i, value in enumerate(values)]
            builder.add_object(category, place, polygons=[polygon])
    return scores


def _numbers(line: str) -> tuple[int, list[float]]:
    """(class, coordinates) of a line; raises Unreadable."""
    first, *rest = line.split()
    if len(rest) > 2 * POINTS.value:
        raise Unreadable(f'it has {len(rest)} numbers, and {POINTS.value} points are allowed ({POINTS.way_out})')
    try:
        category, values = plain_float(first), [plain_float(value) for value in rest]
    except ValueError:
        raise Unreadable(f'expected numbers, got {shown(line, 60)!r}') from None
    if not 0 <= category < 2**31 or category % 1:
        raise Unreadable(f'the class is {shown(first, 40)}, where a whole number from 0 is expected')
    if len(values) not in (4, 5) and (len(values) < 6 or len(values) % 2):
        raise Unreadable(f'{len(values)} numbers behind the class: a box has 4, a polygon 6 or more, in pairs')
    return int(category), values


def _check_range(values: Sequence[float]) -> None:
    for value in values:
        if not -_FARTHEST <= value <= 1 + _FARTHEST:
            raise Unreadable('a coordinate is no finite number' if not math.isfinite(value) else
                             f'a coordinate is {value:g}: they are fractions of the image, from 0 to 1')
