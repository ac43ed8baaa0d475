"""Pascal VOC's instances: masks of objects in SegmentationObject, and of their classes in SegmentationClass."""
import os.path as osp
import posixpath
from collections.abc import Sequence

import numpy as np

from ...errors import DataError
from ...files import read_bytes
from ...limits import IMAGE_BYTES
from ...printable import shown
from ..class_names import BACKGROUND, class_colours, class_names, is_background
from ..colour_maps import labels_of_colours
from ..folders import find_files, read_lines, walk
from ..image_files import open_picture
from ..split_names import split_of
from .content import Builder, Content
from .images import Images, size_of
from .reading import Unreadable
from .voc import LEVELS, by_stem, lists_of, named

_OBJECTS, _CLASSES = 'SegmentationObject', 'SegmentationClass'
_VOID, _VOID_COLOUR = 255, (224, 224, 192)  # the border around objects, which belongs to none
_NAMES = ('aeroplane', 'bicycle', 'bird', 'boat', 'bottle', 'bus', 'car', 'cat', 'chair', 'cow', 'diningtable', 'dog',
          'horse', 'motorbike', 'person', 'pottedplant', 'sheep', 'sofa', 'train', 'tvmonitor')  # VOC's, from 1


def find(root: str) -> dict[str, str]:
    """{split: ''} of a folder with such masks; 'all' where neither lists nor folders tell splits."""
    base = _base(root)
    if base is None:
        return {}
    files = find_files(osp.join(root, base, _OBJECTS), ('.png',))
    splits = list(lists_of(root, 'Segmentation')) or [split_of(posixpath.dirname(file)) or 'all' for file in files]
    return dict.fromkeys(splits if files else (), '')


def read(root: str, split: str) -> Content:
    """The annotations of a split: 'train', 'val', 'test' or 'all'. All masks of the split are decoded.

    Raises:
        DataError: there are no such masks, or no such split.
    """
    base, lists = _base(root), lists_of(root, 'Segmentation')
    if base is None:
        raise DataError(f'{root}: there are no folders {_OBJECTS} and {_CLASSES}')
    objects, classes = (find_files(osp.join(root, base, folder), ('.png',)) for folder in (_OBJECTS, _CLASSES))
    objects_of, class_of = map(by_stem, (objects, classes))
    colours = class_colours(osp.join(root, base))
    names, index = _numbered([*colours] if colours else class_names(osp.join(root, base)), bool(colours))
    builder, images, orphans = Builder(names), Images(root), []
    if not lists:
        split_by = {file: split_of(posixpath.dirname(file)) for file in objects}
        wanted = [posixpath.splitext(file)[0] for file, own in split_by.items() if split in ('all', own or 'all')]
        if split == 'train':
            builder.in_no_split([posixpath.join(base, _OBJECTS, file) for file, own in split_by.items() if not own])
    elif split in lists:
        wanted = [*dict.fromkeys(read_lines(osp.join(root, lists[split])))]
    else:
        raise DataError(f'{osp.join(root, "ImageSets/Segmentation")}: there is no list {split}.txt')
    for name in wanted:
        file = named(name, objects_of, split)
        masks = file and named(posixpath.splitext(file)[0], class_of, split)
        if not file or not masks:
            folder = _CLASSES if file else _OBJECTS
            builder.refuse(lists.get(split, folder), f'there is no {folder}/{shown(name, 100)}.png')
        else:
            _add(builder, root, posixpath.join(base, _OBJECTS, file), posixpath.join(base, _CLASSES, masks), images,
                 orphans, colours, index)
    builder.left_out(orphans, f'{len(orphans)} masks have no image')
    return builder.finished()


def _base(root: str) -> str | None:
    """The folder, relative to `root`, that both folders of masks lie in; None where there is none.

    Raises:
        DataError: there are several.
    """
    found = [folder for folder, _ in walk(root, LEVELS) if posixpath.basename(folder) == _OBJECTS
             and osp.isdir(osp.join(root, posixpath.dirname(folder), _CLASSES))]
    if len(found) > 1:
        raise DataError(f'{root}: several data sets of Pascal VOC lie there, one of them with {found[1]}.\n'
                        'Take the folder of one as data_root')
    return posixpath.dirname(found[0]) if found else None


def _numbered(names: Sequence[str] | None, coloured: bool) -> tuple[list[str], list[int]]:
    """(classes of objects, the index among them of each number of a mask, -1 for the background)."""
    names = list(names or (BACKGROUND, *_NAMES))
    if not coloured and not any(map(is_background, names)):
        names.insert(0, BACKGROUND)
    known = [name for name in names if not is_background(name)]
    index = {name: i for i, name in enumerate(known)}
    return known, [index.get(name, -1) for name in names]


def _add(builder: Builder, root: str, objects: str, classes: str, images: Images, orphans: list[str],
         colours: dict[str, tuple] | None, index: list[int]) -> None:
    """Add an image and its objects, each of the class that most of its pixels have."""
    from ..instance_maps import instances_of  # imports pycocotools
    image = images.of(objects)
    size = image and size_of(osp.join(root, image))
    if not size:
        orphans.append(objects)
        return
    where = objects
    try:
        numbers = _values(osp.join(root, objects))
        where = classes
        labels = _labels(osp.join(root, classes), colours)
        for path, values in ((objects, numbers), (classes, labels)):
            if values.shape != size[::-1]:
                where = path
                raise Unreadable(f'it has {values.shape[1]} × {values.shape[0]} pixels, its image '
                                 f'{size[0]} × {size[1]}')
        where = objects
        found = list(instances_of(numbers, labels))
    except (Unreadable, DataError) as error:
        builder.refuse(where, str(error))
        return
    except Exception as error:  # Pillow's plug-ins may raise anything
        builder.refuse(where, f'it is not an image, or damaged ({shown(error, 200)})')
        return
    builder.add_image(image, *size, objects)
    for instance in found:
        votes = {label: count for label, count in instance.labels.items()
                 if label != _VOID and (label >= len(index) or index[label] >= 0)}
        label = max(votes, key=votes.__getitem__, default=None)
        place = f'object {instance.number}'
        if label is None:
            builder.refuse(f'{objects}, {place}', f'{classes} has no class for its pixels')
        else:
            category = index[label] if label < len(index) else label  # beyond the names, which is said
            builder.add_object(category, place, instance.box, runs=instance.mask, area=instance.area)


def _values(path: str) -> np.ndarray:
    """The numbers of objects in a mask, (H, W), 0 where there is none; those of colours are made of them."""
    with open_picture(_content(path)) as image:
        if image.mode in ('P', 'L', '1'):
            values = np.array(image).astype(np.uint8)
            values[values == _VOID] = 0
        elif image.mode.startswith('I'):
            values = np.asarray(image)
            if values.min() < 0 or values.max() >= 2**16:
                raise Unreadable('its values are no numbers from 0 to 65535')
        else:
            pixels = np.asarray(image.convert('RGB'))
            values = pixels[..., 0].astype(np.int32) << 16
            values |= pixels[..., 1].astype(np.int32) << 8
            values |= pixels[..., 2]
            red, green, blue = _VOID_COLOUR
            values[values == red << 16 | green << 8 | blue] = 0
    return values


def _labels(path: str, colours: dict[str, tuple] | None) -> np.ndarray:
    """The numbers of classes in a mask, (H, W); of colours their places among `colours`."""
    content = _content(path)
    with open_picture(content) as image:
        if image.mode in ('L', '1') or (image.mode == 'P' and not colours):
            return np.asarray(image).astype(np.uint8)
    if not colours:
        raise Unreadable('it has colours, and no labelmap.txt names their classes')
    labels = labels_of_colours(content, [*dict.fromkeys([*colours.values(), _VOID_COLOUR])])
    if _VOID_COLOUR not in colours.values():
        labels[labels == len(colours)] = _VOID
    return labels


def _content(path: str) -> bytes:
    try:
        return read_bytes(path, IMAGE_BYTES.value)
    except OSError as error:
        raise Unreadable(f'it cannot be read ({error.strerror or error})') from error
