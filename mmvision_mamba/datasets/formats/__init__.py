"""Annotations in other formats than COCO's, read as they lie into the form of `content.Content`.

A data set in one of them has a name where a COCO data set has its annotation file: `PATH#FORMAT-SPLIT`, such as
`data/cats/data.yaml#yolo-train` or `data/cats/#voc-val`. File names of images start from the folder of PATH.
"""
import os
import os.path as osp
import re
from importlib import import_module
from typing import NamedTuple

from ...errors import DataError
from ...printable import shown
from .content import Content

FORMATS = ('yolo', 'voc', 'voc_instances', 'labelme')
"""Their names: each has a module with `find(root) -> {split: PATH}`, of which 'all' is one that nothing splits, and
`read(path, split) -> Content`."""
LAYOUTS = dict(yolo='YOLO: a data.yaml with names, train and val, or labels beside images or in labels/ for images/',
               voc='Pascal VOC: .xml files of annotations',
               voc_instances='Pascal VOC: masks in SegmentationObject and SegmentationClass',
               labelme='LabelMe: a .json file beside each image')
_NAME = re.compile(rf'(.*)#({"|".join(FORMATS)})-(train|val|test|all)', re.DOTALL)


class Source(NamedTuple):
    """One split of a data set in a format."""
    path: str
    format: str
    split: str

    @property
    def folder(self) -> str:
        """The folder that file names of images start from."""
        return self.path if not self.path or osp.isdir(self.path) else osp.dirname(self.path)

    def __str__(self) -> str:
        return f'{self.path}#{self.format}-{self.split}'


def source_of(name: str | os.PathLike) -> Source | None:
    """The split that a name means; None for the path of a file, one with such a name among them."""
    match = _NAME.fullmatch(os.fspath(name))
    return Source(*match.groups()) if match and not osp.isfile(name) else None


def file_of(name: str) -> str:
    """The file or folder that the annotations of a name lie in: itself for a path."""
    source = source_of(name)
    return (source.path or '.') if source else name


def find(root: str, wanted: str) -> dict[str, Source]:
    """{split: source, relative to `root`} of a folder in a format; empty where it is in another.

    'all' stands for what no folder or list splits; beside 'train' that is left out, and `read` says how much it is.

    Raises:
        DataError: it is in that format, and broken.
    """
    found = _module(wanted).find(root)
    return {split: Source(path, wanted, split) for split, path in found.items()
            if split != 'all' or 'train' not in found}


def read(name: str | os.PathLike) -> Content:
    """The annotations of a source.

    Raises:
        DataError: there are none, or what they all depend on is broken. Single files are among `Content.problems`.
    """
    source = source_of(name)
    if source is None or not osp.exists(source.path or '.'):
        raise DataError(f'{shown(name)}: no such file or folder')
    content = _module(source.format).read(source.path or '.', source.split)
    if not content['images'] and not content.problems:
        raise DataError(f'{shown(name)}: there are no images')
    return content


def _module(name: str):
    return import_module(f'.{name}', __name__)
