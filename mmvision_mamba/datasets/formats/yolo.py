"""YOLO: for each image a text file with a line for each object, in fractions of the image.

A line is the number of a class and a box (centre x, centre y, width, height) or a polygon (x1, y1, x2, y2, …). What
images and classes there are, a data.yaml says (`yolo_yaml`), or what else lies there (`yolo_folders`).
"""
import math
import os.path as osp
from collections.abc import Sequence

import numpy as np

from ...errors import DataError
from ...limits import CATEGORIES, OBJECTS, POINTS
from ...printable import shown
from ..json_numbers import plain_float
from . import yolo_folders, yolo_yaml
from .content import Builder, Content
from .images import size_of, stem_of
from .reading import Unreadable, read_label_text
from .yolo_folders import NO_LABELS
from .yolo_labels import Labels

_DEEPEST = 4  # folders below a data set's that a data.yaml is looked for in, where nothing else names the classes
_FARTHEST = 0.5  # sides of its image that a point may lie outside, before it is taken for pixels


def find(root: str) -> dict[str, str]:
    """{split: data.yaml or obj.data, relative to `root`; '' for a folder without both}.

    Raises:
        DataError: several could be meant, or the only one is broken.
    """
    if found := yolo_yaml.find(root):
        return found
    if not yolo_folders.name_classes(root) and (found := yolo_yaml.find(root, _DEEPEST)):
        return found
    return yolo_folders.find(root)


def read(path: str, split: str) -> Content:
    """The annotations of a split: 'train', 'val', 'test', or 'all' of a folder that nothing splits.

    Raises:
        DataError: there are no images of that split, or what describes the data set is broken.
    """
    way = yolo_yaml if path.lower().endswith(('.yaml', '.yml')) and osp.isfile(path) else yolo_folders
    names, images, keypoints, unused = way.described(path, split)
    builder, folder = Builder(names or ()), path if osp.isdir(path) else osp.dirname(path)
    known, labels = set(images), Labels(folder)
    missing, unreadable, scores, labelled = [], [], 0, False
    for image in images:
        label = labels.of(image)
        size = size_of(osp.join(folder, image))
        if size is None:
            (unreadable if osp.exists(osp.join(folder, image)) else missing).append(image)
            continue
        builder.add_image(image, *size, label or '')
        if label:
            labelled = True
            scores += _add_objects(builder, osp.join(folder, label), label, size, keypoints)
    if len(missing) == len(images):
        raise DataError(f'{path}: none of the {len(images)} images of {split} is there; looked for {shown(missing[0])}')
    if not labelled and (stray := labels.elsewhere(images)):
        image, label = stray
        raise DataError(f'{path}: none of the {len(images)} images of {split} has a label file. That of '
                        f'{shown(image)} is {shown(label)}, and is looked for as {shown(labels.place(image))}.\n'
                        'Move the labels there, or beside the images')
    builder.left_out(missing, f'{len(missing)} images that a list of {path} names are not there')
    builder.left_out(unreadable, f'{len(unreadable)} images cannot be read')
    builder.in_no_split(unused)
    orphans = [label for label in labels.beside(known) if stem_of(label) not in NO_LABELS]
    builder.left_out(orphans, f'{len(orphans)} label files have no image')
    if scores:
        builder.content.notes.append(f'{scores:,} boxes with a score, which is not used')
    if names is None:
        _name_by_number(path, builder.content)
    _outline_boxes(builder.content)
    return builder.finished()


def _name_by_number(path: str, content: Content) -> None:
    """Give classes that nothing names their numbers as names."""
    numbers = sorted({annotation['category_id'] for annotation in content['annotations']})
    if len(numbers) > CATEGORIES.value:
        raise DataError(f'{path}: its labels have {len(numbers)} classes, and {CATEGORIES.value} are allowed '
                        f'({CATEGORIES.way_out})')
    content['categories'] = [dict(id=number, name=str(number)) for number in numbers]
    content.notes.append('no classes.txt, obj.names or data.yaml: the names of the classes are their numbers')


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
            category, values = _numbers(line, keypoints)
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


def _numbers(line: str, keypoints: int) -> tuple[int, list[float]]:
    """(class, coordinates and maybe a score) of a line, without so many numbers of keypoints; raises Unreadable."""
    first, *rest = line.split()
    if len(rest) > 2 * POINTS.value:
        raise Unreadable(f'it has {len(rest)} numbers, and {POINTS.value} points are allowed ({POINTS.way_out})')
    try:
        category, values = plain_float(first), [plain_float(value) for value in rest]
    except ValueError:
        raise Unreadable(f'expected numbers, got {shown(line, 60)!r}') from None
    if not 0 <= category < 2**31 or category % 1:
        raise Unreadable(f'the class is {shown(first, 40)}, where a whole number from 0 is expected')
    if keypoints and len(values) in (4 + keypoints, 5 + keypoints):
        values = values[:4] + values[4 + keypoints:]
    if len(values) not in (4, 5) and (len(values) < 6 or len(values) % 2):
        raise Unreadable(f'{len(values)} numbers behind the class: a box has 4, a polygon 6 or more, in pairs')
    return int(category), values


def _check_range(values: Sequence[float]) -> None:
    for value in values:
        if not -_FARTHEST <= value <= 1 + _FARTHEST:
            raise Unreadable('a coordinate is no finite number' if not math.isfinite(value) else
                             f'a coordinate is {value:g}: they are fractions of the image, from 0 to 1')
