"""Divide a data set of one's own: files for a part to train with and one to validate with, or for folds."""
import json
import os
import os.path as osp
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import NamedTuple

from ..datasets import formats
from ..datasets.coco_annotations import check_files
from ..datasets.folds import fold_names
from ..datasets.formats.content import Content
from ..datasets.groups import read_groups
from ..datasets.split import extended_split, fold_folder, image_files, list_of, part_of_coco, split_names
from ..errors import DataError
from ..files import read_text
from ..limits import TEXT_BYTES
from ..printable import shown
from ..text import shortened
from .coco_folder import find_coco, read_coco
from .layouts import preferred
from .mask_folder import find_image_mask, pairs_in


class Divisible(NamedTuple):
    """Images that can be divided.

    Attributes:
        names: of what stays whole: an image's file; of images that share a mask, their name.
        suffix: of the files that are written, '.json' or '.txt'.
        text: the content of such a file, from some of the names.
        images: how many images some of the names are.
        read: the names in the content of such a file.
        classes: {name: classes of its objects}; empty where they are not known.
        folder: that the names start from, relative to the data. Default: they start there.
    """
    names: list[str]
    suffix: str
    text: Callable[[list[str]], str]
    images: Callable[[list[str]], int]
    read: Callable[[str], Collection[str]]
    classes: dict[str, set]
    folder: str = ''


class Division(NamedTuple):
    """Images, divided.

    Attributes:
        images: all of them.
        parts: {name of a file: the names that go into it}.
        notes: on their groups, for the user.
    """
    images: Divisible
    parts: dict[str, list[str]]
    notes: list[str]

    def texts(self) -> Iterator[tuple[str, str]]:
        """(name, content) of each file, made one after the other."""
        for name, part in self.parts.items():
            yield name, self.images.text(part)

    def count(self, name: str) -> int:
        """How many images a file names."""
        return self.images.images(self.parts[name])


def divisible(root: str, into_folds: bool = False) -> Divisible:
    """What of a folder is divided: all of it, or its training split.

    Args:
        root: the folder.
        into_folds: rather than to have a validation split, which the masks may have already. Default: False.

    Raises:
        DataError: there is nothing to divide, or annotations of several formats.
    """
    coco, masks = find_coco(root), find_image_mask(root)
    if not coco and 'all' not in masks:
        found = [*preferred({name: {split: str(source) for split, source in splits.items()}
                             for name in formats.FORMATS if (splits := formats.find(root, name))}).values()]
        if len(found) > 1:
            one, other, *_ = (next(iter(splits.values())) for splits in found)
            raise DataError(f'{root}: annotations of several formats lie there, such as {one} and {other}.\n'
                            'Move those of all but one elsewhere')
        coco = found[0] if found else {}
    if source := coco.get('train', coco.get('all')):
        return objects(osp.join(root, source))
    if 'all' in masks:
        return masked(root, masks['all'], whole=True)
    if 'train' in masks and (into_folds or 'val' not in masks):
        return masked(root, masks['train'])
    raise DataError(f'{root}: neither annotations of objects nor folders of images and masks without a split of their '
                    'own')


def objects(annotations: str, content: dict | None = None) -> Divisible:
    """The images of a COCO annotation file, or of a data set in another format of objects.

    Args:
        annotations: path of the file, or name of the data set, as in `formats`.
        content: as `read_coco` returns it. Default: it is read.
    """
    content = content or read_coco(annotations)
    check_files(content)
    classes: dict[str, set] = {}
    files = {image['id']: image['file_name'] for image in content['images']}
    for annotation in content.get('annotations') or ():
        if (file := files.get(annotation['image_id'])) is not None:
            classes.setdefault(file, set()).add(repr(annotation.get('category_id')))
    copies = Counter(files.values())

    def text(names: list[str]) -> str:
        plain = content.plain() if isinstance(content, Content) else content
        return json.dumps(part_of_coco(plain, names))
    return Divisible(image_files(content), '.json', text, lambda names: sum(map(copies.__getitem__, names)),
                     lambda text: image_files(json.loads(text)), classes)


def masked(root: str, dataset: dict, whole: bool = False) -> Divisible:
    """The images of folders of images and masks.

    Args:
        root: the folder of the data.
        dataset: as `find_image_mask` returns it.
        whole: whether its folders are not named after splits, so that names are enough in a list. Default: False.
    """
    folder = osp.join(root, dataset['data_prefix']['img_path'])

    def name_of(image: str) -> str:
        return osp.splitext(osp.relpath(image, folder))[0].replace(os.sep, '/')
    pairs: dict[str, list[tuple[str, ...]]] = {}  # a.jpg and a.png share a mask: both go into one part
    for image, mask in pairs_in(root, dataset).pairs:
        name = name_of(image)
        pairs.setdefault(name, []).append(tuple(osp.relpath(path, root).replace(os.sep, '/') for path in (image, mask)))

    def text(names: list[str]) -> str:
        if whole:
            return list_of(names)
        both = [pair for name in names for pair in pairs[name]]
        list_of(name for pair in both for name in pair)  # refuses what a line can not hold, tabs among it
        return ''.join(f'{image}\t{mask}\n' for image, mask in both)

    def read(text: str) -> list[str]:
        lines = text.splitlines()
        return lines if whole else [name_of(osp.join(root, line.partition('\t')[0])) for line in lines]
    return Divisible(list(pairs), '.txt', text, lambda names: sum(len(pairs[name]) for name in names), read, {},
                     dataset['data_prefix']['img_path'])


def divide(root: str, images: Divisible, val: float = 0.2, folds: int | None = None, seed: int = 0,
           groups: str | None = None, earlier: Mapping[str, str] | None = None) -> Division:
    """Divide images into `train` and `val`, or into a pair of these for each fold, in a folder of its own.

    Args:
        root: the folder of the data, for messages.
        images: what is divided.
        val: share of the images to validate with. Default: 0.2.
        folds: number of folds, in the place of that. Default: none.
        seed: of the choice. Default: 0.
        groups: file of groups that stay whole, see `read_groups`. Default: none.
        earlier: {'train' and 'val' with the suffix: path of the file of an earlier division}, whose images stay in
            their part: what was trained on is not validated with later. Default: none.

    Raises:
        DataError: there are too few images or groups, or the file of groups can't be used.
    """
    group_of, notes = None, []
    if groups is not None:
        read = read_groups(groups, images.names, images.folder)
        group_of = read.of
        notes.append(f'{shown(groups)}: {len(set(read.of.values()))} groups of {images.images(list(read.of))} images')
        if read.unnamed:
            notes.append(f'{len(read.unnamed)} images without a group, each one of its own: '
                         f'{shortened(read.unnamed, 3)}')
        if read.unknown:
            notes.append(f'{len(read.unknown)} names of no image: {shortened(read.unknown, 3)}')
    parts = {}
    try:
        if folds is None:
            found = [_names_in(path, images.read) for path in (earlier or {}).values()]
            divided = extended_split(images.names, *found, val, seed) if len(found) == 2 and all(found) else None
            parts.update(zip(('train', 'val'), divided or split_names(images.names, val, seed, group_of)))
        for fold, part in enumerate(() if folds is None else fold_names(
                images.names, folds, seed, group_of, images.classes)):
            held = set(part)
            parts[f'{fold_folder(fold)}/train'] = [name for name in images.names if name not in held]
            parts[f'{fold_folder(fold)}/val'] = part
    except DataError as error:
        raise DataError(f'{shown(root)}: {error}') from None
    return Division(images, {f'{name}{images.suffix}': part for name, part in parts.items()}, notes)


def _names_in(path: str, read: Callable[[str], Collection[str]]) -> set[str]:
    """The names in a file of an earlier division; none where it can't be read."""
    try:
        return set(read(read_text(path, TEXT_BYTES.value)))
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return set()
