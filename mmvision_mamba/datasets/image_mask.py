"""Folders of images and masks: any image format, nested folders, any pixel values for the classes."""
import os.path as osp
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from mmseg.datasets import BaseSegDataset

from ..errors import DataError
from .folders import IMAGES, find_files, other_kinds, plain_name, read_lines

MASKS = ('.png', '.bmp', '.tif', '.tiff', '.gif', '.webp', '.jpg', '.jpeg')


class ImageMaskDataset(BaseSegDataset):
    """mmseg's `BaseSegDataset` for images and masks of the same relative name, whatever their suffixes.

    An image or mask that isn't there is listed all the same: loading it is an error that names it.

    Args:
        values: pixel value of each class, in the order of `metainfo['classes']`. Default: 0, 1, 2, …
        ignored: further pixel values that count as unlabelled, like 255. Default: none.
        ann_file: text file with the names of the images to use, see `listed`. Default: all.
        **settings: as for `BaseSegDataset`.

    Raises:
        DataError: there is no image, or the list can't be read.
    """

    def __init__(self, values: Sequence[int] | None = None, ignored: Sequence[int] = (), **settings):
        self.values, self.ignored = values, ignored
        super().__init__(**settings)

    def load_data_list(self) -> list[dict]:
        label_map = dict.fromkeys(self.ignored, self.ignore_index)
        if self.values is not None:
            label_map.update({v: i for i, v in enumerate(self.values)})
        if all(value == label for value, label in label_map.items()):
            label_map = None
        pairs = find_pairs(self.data_prefix['img_path'], self.data_prefix['seg_map_path'], self.ann_file or None).pairs
        return [dict(img_path=image, seg_map_path=mask, label_map=label_map, reduce_zero_label=self.reduce_zero_label,
                     seg_fields=[]) for image, mask in pairs]


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


def find_pairs(images: str, masks: str, names_file: str | None = None) -> Pairs:
    """Pairs of the same relative name below two folders: of the names in a file, or of all images.

    Raises:
        DataError: there is no image, or `listed` raises it.
    """
    image_files, mask_files = find_files(images), find_files(masks)
    named, mask_of = {}, {}  # {name without suffix: the images}, {…: the mask}
    for file in image_files:
        stem, suffix = posixpath.splitext(file)
        if suffix.lower() in IMAGES:
            named.setdefault(stem, []).append(file)
    for file in sorted(mask_files, key=_preference):
        stem, suffix = posixpath.splitext(file)
        if suffix.lower() in MASKS:
            mask_of.setdefault(stem, file)
    notes = [f'{osp.basename(folder)}: {others} left out' for folder, files, kinds in (
        (images, image_files, IMAGES), (masks, mask_files, MASKS)) if (others := other_kinds(files, kinds))]
    if names_file:
        chosen = listed(names_file, named, images)
    else:
        chosen = sorted(file for files in named.values() for file in files)
        if unused := len(set(mask_of) - set(named)):
            notes.append(f'{unused} masks have no image')
    if not chosen:
        raise DataError(f'{names_file or images}: there are no images')
    stems = [posixpath.splitext(file)[0] if file.lower().endswith(IMAGES) else file for file in chosen]
    pairs = [(posixpath.join(images, file), posixpath.join(masks, mask_of.get(stem, f'{stem}{MASKS[0]}')))
             for file, stem in zip(chosen, stems)]
    return Pairs(pairs, [mask for (_, mask), stem in zip(pairs, stems) if stem in mask_of], notes)


def _preference(file: str) -> tuple:
    suffix = posixpath.splitext(file)[1].lower()
    return MASKS.index(suffix) if suffix in MASKS else len(MASKS), file


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
        DataError: the list can't be read, names no image, or its lines are pairs of an image and a mask.
    """
    lines = [line for line in read_lines(names_file) if not line.startswith('#') or plain_name(line) in named]
    if lines and all(map(_is_pair, lines)):
        raise DataError(f'{names_file}: its lines are pairs of an image and a mask, such as {lines[0]!r}.\nA line '
                        "is an image's name alone; the mask has the same in the folder of masks")
    found = {line: _images_of(line, named, folder) for line in lines}
    if lines and not any(found.values()):
        raise DataError(f'{names_file}: none of its {len(lines)} lines names an image in {folder}, such as '
                        f'{lines[0]!r}.\nA line is the path of an image from that folder, with or without suffix')
    return [file for line in lines for file in found[line] or [plain_name(line)]]


def _is_pair(line: str) -> bool:
    """Whether a line names two files."""
    names = line.replace(',', ' ').replace('\t', ' ').split()
    return len(names) == 2 and all(name.lower().endswith((*IMAGES, *MASKS)) for name in names)


def _images_of(line: str, named: Mapping[str, list[str]], folder: str) -> list[str]:
    """The image files that a line of a list means; none where there is no such file."""
    unlabelled = re.sub(r'(\s+|\s*,\s*)-?\d+$', '', line)
    for name in dict.fromkeys((line, unlabelled)):
        for candidate in _relative(plain_name(name), folder):
            stem, suffix = posixpath.splitext(candidate)
            if candidate in named:
                return named[candidate]
            if suffix.lower() in IMAGES and stem in named:
                return [candidate] if candidate in named[stem] else named[stem]
    return []


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
