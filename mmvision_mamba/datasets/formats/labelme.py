"""LabelMe: a JSON file beside each image, with polygons, rectangles and circles."""
import math
import os.path as osp
import posixpath
from collections import Counter

from ...errors import DataError
from ...files import open_file
from ...limits import LABEL_BYTES, OBJECTS
from ...printable import shown
from ..folders import find_files, walk
from ..json_numbers import is_number
from ..split_names import split_of
from .content import Builder, Content
from .images import Images, announced_size, size_of
from .reading import Unreadable, read_label_json

_BACKGROUND = ('_background_', '__background__', '__ignore__')  # its names for what is no object
_CIRCLE = 64  # corners of the polygon that stands for one
_LOOKED_AT = 3  # files of a folder by which it is told


def find(root: str) -> dict[str, str]:
    """{split: ''} of a folder with such annotations; 'all' where no folder is named after a split."""
    splits = {}
    for folder, names in walk(root):
        files = [name for name in names if name.lower().endswith('.json')][:_LOOKED_AT]
        if any(_is_labelme(osp.join(root, folder, name)) for name in files):
            splits[split_of(folder) or 'all'] = ''
    return splits


def read(root: str, split: str) -> Content:
    """The annotations of a split: 'train', 'val', 'test' or 'all'."""
    builder, images, orphans, others = Builder(), Images(root), [], Counter()
    unused: list[str] = []
    for file in find_files(root, ('.json',)):
        if split != 'all' and (split_of(posixpath.dirname(file)) or 'all') != split:
            if split == 'train' and split_of(posixpath.dirname(file)) is None and _is_labelme(osp.join(root, file)):
                unused.append(file)
            continue
        try:
            page = read_label_json(osp.join(root, file))
        except Unreadable as error:
            builder.refuse(file, str(error))
            continue
        if not isinstance(page, dict) or not isinstance(page.get('shapes'), list):
            continue  # another program's
        name = page.get('imagePath')
        said = announced_size(page.get('imageWidth'), page.get('imageHeight'))
        image = images.of(file, [name] if isinstance(name, str) else [], said)
        size = image and size_of(osp.join(root, image))
        if not size:
            orphans.append(file)
            continue
        if len(page['shapes']) > OBJECTS.value:
            builder.refuse(file, f'it has {len(page["shapes"])} shapes, and {OBJECTS.value} are allowed '
                           f'({OBJECTS.way_out})')
            continue
        builder.add_image(image, *(said or size), file)
        _add_shapes(builder, file, page['shapes'], others)
    builder.left_out(orphans, f'{len(orphans)} annotation files have no image')
    builder.in_no_split(unused)
    for kind, count in others.items():
        builder.content.notes.append(f'{count:,} shapes of the type {shown(kind, 40)}, left out')
    if not builder.content['images'] and not builder.content.problems:
        raise DataError(f'{root}: there are no annotations of {split}')
    return builder.finished()


def _is_labelme(path: str) -> bool:
    try:
        with open_file(path) as file:
            head = file.read(2**16) or b''
            if b'"shapes"' not in head and b'"imageData"' not in head:
                return False
            return b'"shapes"' in head or b'"shapes"' in file.read(LABEL_BYTES.value)
    except OSError:
        return False


def _add_shapes(builder: Builder, file: str, shapes: list, others: Counter) -> None:
    """Add the objects of an image: shapes of one group are one object."""
    groups: dict[tuple, tuple[str, list]] = {}
    for i, shape in enumerate(shapes, 1):
        place = f'shape {i}'
        try:
            label, polygon = _shape(shape, others)
        except Unreadable as error:
            builder.refuse(f'{file}, {place}', str(error))
            continue
        if polygon is not None and label not in _BACKGROUND:
            group = shape.get('group_id')
            key = (label, group) if isinstance(group, int | str) else (label, None, i)
            groups.setdefault(key, (place, []))[1].append(polygon)
    for (label, *_), (place, polygons) in groups.items():
        builder.add_object(label, place, polygons=polygons)


def _shape(shape, others: Counter) -> tuple[str, list[float] | None]:
    """(label, polygon) of a shape; of types that outline nothing None, counted in `others`."""
    if not isinstance(shape, dict) or not isinstance(shape.get('label'), str) or not shape['label'].strip():
        raise Unreadable('it has no label')
    points, kind = shape.get('points'), shape.get('shape_type') or 'polygon'
    if not isinstance(points, list) or not all(
            isinstance(point, list) and len(point) == 2 and all(map(is_number, point)) for point in points):
        raise Unreadable('its points are no pairs of finite numbers')
    label = shape['label'].strip()
    if kind == 'rectangle' and len(points) == 2:
        (x1, x2), (y1, y2) = (sorted(values) for values in zip(*points))
        return label, [x1, y1, x2, y1, x2, y2, x1, y2]
    if kind == 'circle':
        if len(points) != 2:
            raise Unreadable(f'a circle has two points, its centre and one on its edge; this one has {len(points)}')
        (x, y), edge = points
        radius, angles = math.dist((x, y), edge), [2 * math.pi * i / _CIRCLE for i in range(_CIRCLE)]
        return label, [v for a in angles for v in (x + radius * math.cos(a), y + radius * math.sin(a))]
    if kind in ('polygon', 'rectangle'):  # newer rectangles have four corners
        if not points:
            raise Unreadable('it has no points')
        return label, [value for point in points for value in point]
    others[kind if isinstance(kind, str) else 'unknown'] += 1
    return label, None
