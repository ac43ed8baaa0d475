"""The ids of images and categories in results: those of the data set where the config names it, else numbers."""
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import count
from urllib.parse import unquote

from mmengine.config import Config

from ..datasets import formats
from ..datasets.coco_files import ids_of_classes, read_json
from ..datasets.json_numbers import is_id
from ..downloads import is_url, split_url
from ..errors import DataError
from ..preflight.datasets import datasets_of

# COCO's category ids, in the order of the class names in mmdet: 80 things, and for panoptic models 53 kinds of stuff.
_THINGS = tuple(i for i in range(1, 91) if i not in (12, 26, 29, 30, 45, 66, 68, 69, 71, 83))
_STUFF = (92, 93, 95, 100, 107, 109, 112, 118, 119, 122, 125, 128, 130, 133, 138, 141, 144, 145, 147, 148, 149, 151,
          154, 155, 156, 159, 161, 166, 168, 171, 175, 176, 177, 178, 180, 181, *range(184, 201))


class ResultIds:
    """Ids for the images and categories of a run's results.

    Args:
        classes: names of the model's labels.
        categories: for each label the category as an annotation file has it, with `id` and `name`. Default: label i is
            category i + 1.
        images: (file name below the image folder, id) of the images of the annotation file. Default: none.
        folder: the image folder. Default: unknown.
        source: where the ids come from, for messages. Default: nowhere, they are numbers.

    Attributes:
        categories: as above, one for each label.
    """

    def __init__(self, classes: Sequence[str], categories: Sequence[dict] | None = None,
                 images: Iterable[tuple[str, int | str]] = (), folder: str | None = None, source: str | None = None):
        self.categories = [dict(category) for category in categories] if categories is not None else [
            dict(id=i + 1, name=name) for i, name in enumerate(classes)]
        self.source = source
        self._images = {_slashed(name): id_ for name, id_ in images}
        self._folder = folder
        self._known, self._total = 0, 0

    def assign(self, names: Sequence[str | None]) -> list[int | str | None]:
        """Begin a run: the id in the annotation file of each input, no two the same; None for others, see `new`.

        An image is known by its place in the image folder; elsewhere by the end of its path, if no other input has the
        same end.

        Args:
            names: paths or URLs; None for what comes from no file.
        """
        places = [None if name is None else _slashed(unquote(split_url(name)[2]) if is_url(name)
                                                     else os.path.abspath(name)) for name in names]
        found: list[str | None] = [self._in_folder(place) for place in places]
        claimed = {name for name in found if name is not None}
        ends = [None if place is None or name is not None else self._end_of(place)
                for place, name in zip(places, found)]
        claims = Counter(ends)
        taken: set[str] = set()
        for i, (name, end) in enumerate(zip(found, ends)):
            name = end if name is None and claims[end] == 1 and end not in claimed else name
            found[i] = None if name in taken else name
            taken.update([name] if name is not None else [])
        self._known, self._total = sum(name is not None for name in found), len(names)
        self._numbers = count(1 + max((id_ for id_ in self._images.values() if isinstance(id_, int)), default=0))
        return [None if name is None else self._images[name] for name in found]

    def new(self) -> int:
        """The next id that no image has: from 1, or above those of the annotation file; after `assign`."""
        return next(self._numbers)

    def _in_folder(self, place: str | None) -> str | None:
        folder = self._folder and _slashed(os.path.join(os.path.abspath(self._folder), ''))
        name = place[len(folder):] if place and folder and place.startswith(folder) else None
        return name if name in self._images else None

    def _end_of(self, place: str) -> str | None:
        parts = place.split('/')
        ends = ('/'.join(parts[i:]) for i in range(len(parts)))
        return next((end for end in ends if end in self._images), None)

    def describe(self) -> str:
        """A sentence on where the ids come from."""
        if self.source is None:
            return 'ids: images are numbered by this run, and label i is category i + 1, since the config names no ' \
                   'annotation file that is there'
        text = f'ids: categories are those of {self.source}'
        if not self._known:
            return f'{text}; images are numbered by this run'
        return f'{text}, images too' if self._known == self._total else \
            f'{text}, images too where it has them ({self._known} of {self._total}); others have numbers of their own'

    def header(self, images: Sequence[dict]) -> dict:
        """COCO's annotation format without annotations: `info`, `images`, and the categories of the labels."""
        return dict(info=dict(description=self.describe()), images=list(images), categories=self.categories)


def result_ids(cfg: Config, classes: Sequence[str]) -> ResultIds:
    """The ids of a config's test data set: of its COCO annotation file, if that is there; else of COCO's own classes.

    Args:
        cfg: of a detector or segmentor.
        classes: names of the model's labels.
    """
    for _, dataset, cls in datasets_of(cfg, 'test')[:1] if cfg.get('default_scope') == 'mmdet' else ():
        root, path = dataset.get('data_root') or '', dataset.get('ann_file') or ''
        content = _read(path := os.path.join(root, path))
        categories = content and _of_labels(content, classes)
        if content and categories:
            folder = (dataset.get('data_prefix') or {}).get('img') or ''
            images = [(image['file_name'], image['id']) for image in content['images'] if isinstance(image, dict)
                      and isinstance(image.get('file_name'), str) and is_id(image.get('id'))]
            return ResultIds(classes, categories, images, os.path.join(root, folder), path)
        names = tuple(getattr(cls, 'METAINFO', {}).get('classes', ()))
        if names == tuple(classes) and len(names) in (80, 133) and names[79] == 'toothbrush':
            return ResultIds(classes, [dict(id=id_, name=name) for id_, name in zip(_THINGS + _STUFF, names)],
                             source='COCO')
    return ResultIds(classes)


def _read(path: str) -> dict | None:
    """The content of a COCO annotation file, or of another format; None where there is none."""
    try:
        content = formats.read(path) if formats.source_of(path) else read_json(path)
    except DataError:
        return None
    lists = isinstance(content, dict) and all(isinstance(content.get(key), list) for key in ('images', 'categories'))
    return content if lists else None


def _of_labels(content: dict, classes: Sequence[str]) -> list[dict] | None:
    """The file's category of each label, by name, with a new id for one that it lacks; None if it lacks them all."""
    annotations = content.get('annotations')
    used = {a['category_id'] for a in annotations if isinstance(a, dict) and is_id(a.get('category_id'))} \
        if isinstance(annotations, list) else ()
    categories = [c for c in content['categories'] if isinstance(c, dict) and is_id(c.get('id'))
                  and isinstance(c.get('name'), str)]
    categories.sort(key=lambda c: c['id'] in used)  # of two with one name, the one with objects counts
    by_name = {c['name']: c for c in categories}
    if by_name.keys().isdisjoint(classes):
        return None
    return [by_name.get(name) or dict(id=id_, name=name)
            for name, id_ in zip(classes, ids_of_classes(categories, classes, used))]


def _slashed(path: str) -> str:
    return path.replace('\\', '/')
