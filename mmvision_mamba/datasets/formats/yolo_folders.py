"""YOLO labels without a data.yaml: beside darknet's obj.data, or in folders with or without a list of classes."""
import os.path as osp
import posixpath

from ...errors import DataError
from ...files import open_file, read_text
from ...limits import CATEGORIES
from ...printable import shown
from ..folders import IMAGES, read_names, walk
from ..json_numbers import plain_float
from ..split_names import SPLIT_NAMES, split_of
from .images import stem_of
from .reading import YAML_BYTES
from .yolo_labels import Labels
from .yolo_yaml import KEYS, Described, images_of, resolved

NO_LABELS = ('classes', 'obj', 'predefined_classes', 'train', 'val', 'valid', 'test', 'notes', 'readme')
"""Other text files that lie beside labels, without suffix."""
_CLASSES = ('classes.txt', 'obj.names', 'predefined_classes.txt', '_darknet.labels')
_LOOKED_AT = 8  # label files of a folder by which it is told
_HEAD = 2000  # bytes of a label file that are looked at
_FARTHEST = 0.5  # as `yolo` has it


def find(root: str) -> dict[str, str]:
    """{split: PATH} of a folder: darknet's file, relative to `root`, or '' where images have labels without one."""
    if data := _darknet(root):
        content = _read_darknet(osp.join(root, data))
        return {split: data for split in KEYS if _entry(content, split)}
    return dict.fromkeys(_Folders(root).splits, '')


def name_classes(root: str) -> bool:
    """Whether a file below a folder names the classes, but for a data.yaml."""
    return any(name.lower() in _CLASSES for _, names in walk(root) for name in names)


def described(path: str, split: str) -> Described:
    """A split of the data set that darknet's file describes, or that lies in a folder; raises DataError."""
    if osp.isdir(path):
        folders = _Folders(path)
        names = _class_file(path, folders.text_files)
        return Described(names and _read_names(osp.join(path, names)), folders.images(split),
                         unused=folders.unused if split == 'train' else [])
    content = _read_darknet(path)
    names = resolved(content['names'], osp.dirname(path) or '.')
    if names is None:
        raise DataError(f"{path}: names is '{shown(content['names'], 200)}', and there is no such file")
    entry = _entry(content, split)
    return Described(_read_names(names), images_of(path, split, [entry] if entry else []))


def _darknet(root: str) -> str | None:
    """The file below a folder that says where lists and names lie, as darknet has it; None without one."""
    files = [posixpath.join(folder, name) for folder, names in walk(root, 1) for name in names
             if name.lower().endswith('.data')]
    for file in sorted(files, key=lambda file: (file.count('/'), file))[:_LOOKED_AT]:
        try:
            content = _read_darknet(osp.join(root, file))
        except DataError:
            continue
        if any(_entry(content, split) for split in KEYS):
            return file
    return None


def _read_darknet(path: str) -> dict[str, str]:
    """{key: value} of a file of lines such as 'train = data/train.txt'; raises DataError where it has no names."""
    parts = [line.partition('=') for line in _lines(path)]
    content = {key.strip(): value.strip() for key, sign, value in parts if sign}
    if not content.get('names'):
        raise DataError(f'{path}: expected lines such as names = obj.names and train = train.txt')
    return content


def _entry(content: dict[str, str], split: str) -> str | None:
    return next((content[key] for key in KEYS[split] if content.get(key)), None)


def _lines(path: str) -> list[str]:
    """Lines of a small text file, without blank ones; raises DataError."""
    try:
        return [line.strip() for line in read_text(path, YAML_BYTES).splitlines() if line.strip()]
    except (OSError, UnicodeError) as error:
        raise DataError(f'{path}: it cannot be read ({getattr(error, "strerror", None) or error})') from error


def _read_names(path: str) -> list[str]:
    """The classes in a file, one a line in the order of their numbers."""
    names = read_names(path, YAML_BYTES)
    if len(names) > CATEGORIES.value:
        raise DataError(f'{path}: it names {len(names)} classes, and {CATEGORIES.value} are allowed '
                        f'({CATEGORIES.way_out})')
    return names


def _class_file(root: str, files: list[str]) -> str | None:
    """The one of the text files below a folder that names the classes, relative to it; None without one.

    Raises:
        DataError: two that are equally near differ.
    """
    found = sorted((file for file in files if posixpath.basename(file).lower() in _CLASSES),
                   key=lambda file: (file.count('/'), _CLASSES.index(posixpath.basename(file).lower()), file))
    rivals = [file for file in found if file.count('/') == found[0].count('/')][:_LOOKED_AT]
    for other in rivals[1:]:
        if _lines(osp.join(root, other)) != _lines(osp.join(root, rivals[0])):
            raise DataError(f'{root}: {shown(rivals[0])} and {shown(other)} name other classes, or in another order.\n'
                            'Keep one of the two, in that folder itself, and number the labels as it does')
    return next(iter(rivals), None)


class _Folders:
    """Images with labels below a folder.

    Args:
        root: the folder.

    Attributes:
        text_files: below it, but for label files of images.
        splits: that folders of such images are named after, or lists; or 'all' alone.
        unused: images with labels in folders that are named after no split, where others are.
    """

    def __init__(self, root: str):
        self._root, self._labels = root, Labels(root)
        self.text_files: list[str] = []
        self._images: dict[str, list[str]] = {}  # {folder: its images}, of folders whose images have labels
        lists: dict[str, str] = {}
        for folder, names in walk(root):
            images = [posixpath.join(folder, name) for name in names if name.lower().endswith(IMAGES)]
            self.text_files += [posixpath.join(folder, name) for name in names if name.lower() in _CLASSES]
            if images and self._are_labelled(images):
                self._images[folder] = images
            for name in names if folder == '' else ():
                if name.lower().endswith('.txt'):
                    stem = stem_of(name).lower()
                    lists.update({split: name for split, words in SPLIT_NAMES.items() if stem in words})
        named = [split_of(folder) for folder in self._images]
        self._lists = lists if self._images and not any(named) and 'train' in lists else {}
        self.unused = [image for folder, images in self._images.items() if any(named) and split_of(folder) is None
                       for image in images]
        self.splits = [*self._lists] or list(dict.fromkeys(split or 'all' for split in named))

    def images(self, split: str) -> list[str]:
        """The images of a split, relative to the folder; raises DataError where there are none."""
        if split in self._lists:
            return images_of(osp.join(self._root, self._lists[split]), split, [self._lists[split]])
        found = [image for folder, images in self._images.items() for image in images
                 if split == 'all' or (split_of(folder) or 'all') == split]
        if not found:
            raise DataError(f'{self._root}: there are no images of {split} with labels')
        return found

    def _are_labelled(self, images: list[str]) -> bool:
        """Whether the first label files with text that lie where those of these images would are such."""
        labels = (osp.join(self._root, label) for image in images
                  if (label := self._labels.of(image)) and stem_of(label) not in NO_LABELS)
        filled = (label for label in labels if osp.isfile(label) and osp.getsize(label))
        return any(_is_label(label) for _, label in zip(range(_LOOKED_AT), filled))


def _is_label(path: str) -> bool:
    """Whether the first line of a text file has the number of a class, and fractions behind it."""
    try:
        with open_file(path) as file:
            text = (file.read(_HEAD) or b'').decode('utf-8-sig', errors='replace')
        label, *fractions = text.lstrip().split('\n', 1)[0].split()
        return label.isascii() and label.isdigit() and len(fractions) >= 4 and all(
            -_FARTHEST <= plain_float(fraction) <= 1 + _FARTHEST for fraction in fractions[:4])
    except (OSError, ValueError):
        return False
