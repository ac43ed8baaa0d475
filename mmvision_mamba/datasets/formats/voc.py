"""Pascal VOC: an XML file for each image, in folders by split or listed in ImageSets/Main."""
import math
import os.path as osp
import posixpath
from collections.abc import Iterable, Mapping
from xml.etree.ElementTree import Element

from ...errors import DataError
from ...files import open_file
from ...limits import NAME, OBJECTS
from ...printable import shown
from ..folders import IMAGES, find_files, read_lines, walk
from ..json_numbers import plain_float
from ..split_names import SPLIT_NAMES, split_of
from .content import Builder, Content
from .images import Images, announced_size, size_of, stem_of
from .reading import Unreadable, read_xml

_FROM_ONE = ('The VOC2007 Database', 'The VOC2012 Database')  # whose pixels are numbered from 1
LEVELS = 5
"""Folders below a data set's in which VOC's are looked for: VOCtrainval/VOCdevkit/VOC2012/ImageSets/Main."""
_CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')


def find(root: str) -> dict[str, str]:
    """{split: ''} of a folder with such annotations; 'all' where neither lists nor folders tell splits."""
    files = [posixpath.join(folder, names[0]) for folder, all_names in walk(root)
             if (names := [name for name in all_names if name.lower().endswith('.xml')])]
    files = [file for file in files if _is_voc(osp.join(root, file))]
    if not files:
        return {}
    splits = list(lists_of(root, 'Main')) or [split_of(posixpath.dirname(file)) or 'all' for file in files]
    return dict.fromkeys(splits, '')


def read(root: str, split: str) -> Content:
    """The annotations of a split: 'train', 'val', 'test' or 'all'."""
    builder, images, lists, files = Builder(), Images(root), lists_of(root, 'Main'), find_files(root, ('.xml',))
    orphans: list[str] = []
    if lists:
        if split not in lists:
            raise DataError(f'{osp.join(root, "ImageSets/Main")}: there is no list {split}.txt')
        stems = by_stem(files)
        for name in dict.fromkeys(read_lines(osp.join(root, lists[split]))):
            file = named(name, stems, split) or named(_without_label(name), stems, split)
            if file is None:
                builder.refuse(lists[split], f'there is no {shown(name, 100)}.xml for its line {shown(name, 100)!r}')
            else:
                _add(builder, root, file, images, orphans)
    else:
        for file in files:
            if split == 'all' or (split_of(posixpath.dirname(file)) or 'all') == split:
                _add(builder, root, file, images, orphans)
        if split == 'train':
            builder.in_no_split([file for file in files if split_of(posixpath.dirname(file)) is None
                                 and _is_voc(osp.join(root, file))])
    builder.left_out(orphans, f'{len(orphans)} annotation files have no image')
    return builder.finished()


def _without_label(line: str) -> str:
    """The name in a line of a list for one class: '000012 -1'."""
    *name, label = line.rsplit(None, 1)
    return name[0] if name and label in ('-1', '0', '1') else line


def _is_voc(path: str) -> bool:
    try:
        with open_file(path) as file:
            head = file.read(2000) or b''
        return b'<annotation>' in head or b'<annotation ' in head or b'<annotation\n' in head
    except OSError:
        return False


def lists_of(root: str, kind: str) -> dict[str, str]:
    """{split: its list of names in ImageSets/KIND, relative to `root`}.

    Raises:
        DataError: there are those of several data sets.
    """
    found: dict[str, str] = {}
    for folder, names in walk(root, LEVELS):
        if f'/{folder}'.endswith(f'/ImageSets/{kind}'):
            if found and folder != posixpath.dirname(next(iter(found.values()))):
                raise DataError(f'{root}: several data sets of Pascal VOC lie there, one of them with {folder}.\n'
                                'Take the folder of one as data_root')
            for split, words in SPLIT_NAMES.items():
                for name in names:
                    if name.lower().endswith('.txt') and stem_of(name).lower() in words:
                        found.setdefault(split, posixpath.join(folder, name))
            both = next((name for name in names if name.lower() == 'trainval.txt'), None)
            if both and found.keys().isdisjoint(('train', 'val')):  # as VOC2007 is kept beside its tests
                found['train'] = posixpath.join(folder, both)
    return found


def by_stem(files: Iterable[str]) -> dict[str, list[str]]:
    """Files by their names without folder and suffix."""
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(stem_of(file), []).append(file)
    return found


def named(name: str, stems: Mapping[str, list[str]], split: str) -> str | None:
    """The file of an image that a list names, perhaps with its folder or suffix; None without one.

    Args:
        name: of the list.
        stems: the files, `by_stem`.
        split: of the list; of several files of that name, those of which the path ends so come first, then those in
            folders named after the split.
    """
    name = name.replace('\\', '/')
    if posixpath.basename(name) not in stems and name.lower().endswith((*IMAGES, '.xml')):
        name = posixpath.splitext(name)[0]
    found = stems.get(posixpath.basename(name), [])
    ends = [file for file in found if f'/{posixpath.splitext(file)[0]}'.endswith(f'/{name}')] or found
    own = [file for file in ends if split_of(posixpath.dirname(file)) == split]
    return next(iter(own or ends), None)


def _add(builder: Builder, root: str, file: str, images: Images, orphans: list[str]) -> None:
    """Add the image and the objects of an XML file."""
    try:
        page = read_xml(osp.join(root, file))
        if page.tag != 'annotation':
            raise Unreadable(f'its root is {shown(page.tag, 60)}, not annotation')
        objects = page.findall('object')
        if len(objects) > OBJECTS.value:
            raise Unreadable(f'it has {len(objects)} objects, and {OBJECTS.value} are allowed ({OBJECTS.way_out})')
    except Unreadable as error:
        builder.refuse(file, str(error))
        return
    name = page.findtext('filename')
    said = announced_size(*(page.findtext(f'size/{side}', '').strip() for side in ('width', 'height')))
    image = images.of(file, [name] if name and len(name) < NAME else [], said)
    size = image and size_of(osp.join(root, image))
    if not size:
        orphans.append(file)
        return
    builder.add_image(image, *(said or size), file)
    database = (page.findtext('source/database') or '').strip() in _FROM_ONE
    for i, item in enumerate(objects, 1):
        try:
            label = (item.findtext('name') or '').strip()
            if not label:
                raise Unreadable('it has no name')
            box = _texts(item.find('bndbox'))
            x1, y1, x2, y2 = (_number(box, corner) for corner in _CORNERS)
            if database and all(map(math.isfinite, (x1, y1, x2, y2))):
                x1, y1, x2, y2 = (int(value) - 1 for value in (x1, y1, x2, y2))  # as mmdet's VOCDataset has them
            polygon = _polygon(item)
            builder.add_object(label, f'object {i}', (x1, y1, x2 - x1, y2 - y1), polygon and [polygon],
                               crowd=(item.findtext('difficult') or '').strip() == '1')
        except Unreadable as error:
            builder.refuse(f'{file}, object {i}', str(error))


def _texts(item: Element | None) -> dict[str, str]:
    return {} if item is None else {part.tag: (part.text or '').strip() for part in item}


def _number(texts: dict[str, str], key: str) -> float:
    text = texts.get(key, '')
    try:
        return plain_float(text if len(text) < 40 else '')
    except ValueError:
        raise Unreadable(f"its {key} is '{shown(text, 40)}', where a number is expected") from None


def _polygon(item: Element) -> list[float] | None:
    """The outline that some exporters write beside the box, as x1, y1, x2, y2, …"""
    points = _texts(item.find('polygon'))
    return [_number(points, f'{axis}{i}') for i in range(1, len(points) // 2 + 1) for axis in 'xy'] or None
