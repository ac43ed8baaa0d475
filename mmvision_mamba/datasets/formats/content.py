"""The one form in memory that annotations of every format are read into: what a COCO annotation file holds."""
from collections import Counter
from collections.abc import Sequence

import numpy as np

from ...text import shortened
from ..coco_masks import mask_area, mask_extent
from ..json_numbers import is_number
from ..problems import Problem

_THOUSANDTHS = 3  # digits kept of a pixel's coordinates: fractions of six digits are no more exact


class Content(dict):
    """Content of a COCO annotation file, read from another format.

    Polygons are arrays of float64 in the place of lists. Images have `source`, the file of their annotations, besides
    COCO's keys, and annotations have `place`, the line or object of that file: messages name them.

    Attributes:
        problems: of files that could not be read, or are left out.
        notes: what the reader made of what the format leaves open, for the user.
    """

    def __init__(self):
        super().__init__(images=[], annotations=[], categories=[])
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def plain(self) -> dict:
        """The content as JSON takes it, without what COCO's files lack."""
        return dict(
            images=[{key: value for key, value in image.items() if key != 'source'} for image in self['images']],
            annotations=[_plain(annotation) for annotation in self['annotations']], categories=self['categories'])


def _plain(annotation: dict) -> dict:
    plain = {key: value for key, value in annotation.items() if key != 'place'}
    if isinstance(mask := plain.get('segmentation'), list):
        plain['segmentation'] = [polygon.tolist() for polygon in mask]
    return plain


class Builder:
    """Puts a `Content` together, image by image and object by object.

    Args:
        names: of the classes; objects then have an index among them. None: objects have names, which are sorted.
    """

    def __init__(self, names: Sequence[str] | None = None):
        self.content, self._ids = Content(), {}
        self._named = names is not None
        for index, name in enumerate(names or ()):
            self.content['categories'].append(dict(id=index, name=name))

    def add_image(self, file_name: str, width: float, height: float, source: str) -> int:
        """Add an image, whose file name is relative to the folder of the data; returns its id."""
        image_id = len(self.content['images']) + 1
        self.content['images'].append(
            dict(id=image_id, file_name=file_name, width=width, height=height, source=source))
        return image_id

    def add_object(self, category: int | str, place: str, box: Sequence[float] | None = None,
                   polygons: list[list[float]] | None = None, runs: dict | None = None, area: float | None = None,
                   crowd: bool = False) -> None:
        """Add an object to the last image.

        Args:
            category: index of its class, or its name.
            place: in the file of the image's annotations.
            box: x, y, width, height in pixels. Default: around the polygons.
            polygons: [x1, y1, x2, y2, …] in pixels. Default: none.
            runs: COCO's run lengths, in the place of polygons; then with a box. Default: none.
            area: pixels of it. Default: that of its polygons, or of its box.
            crowd: whether it is neither to be learned nor measured. Default: False.
        """
        if not self._named:
            category = self._ids.setdefault(category, len(self._ids))
        annotation = dict(id=len(self.content['annotations']) + 1, image_id=len(self.content['images']),
                          category_id=category, place=place, iscrowd=int(crowd))
        if polygons:
            polygons = [[round(value, _THOUSANDTHS) for value in polygon] for polygon in polygons]
            annotation['segmentation'] = [np.array(polygon, float) for polygon in polygons]  # a quarter of the memory
            box = box or mask_extent(polygons)
        elif runs:
            annotation['segmentation'] = runs
        annotation['bbox'] = [round(value, _THOUSANDTHS) for value in box or (float('nan'),) * 4]
        area = area or (polygons and mask_area(polygons)) or annotation['bbox'][2] * annotation['bbox'][3]
        annotation['area'] = area if is_number(area) else 0.
        self.content['annotations'].append(annotation)

    def refuse(self, where: str, why: str) -> None:
        """Note a file, or a line or an object of one, whose annotations can't be read."""
        self.content.problems.append(Problem('label file', where, why))

    def left_out(self, files: Sequence[str], what: str) -> None:
        """Note files that are no part of the data; none of them is no problem."""
        if files:
            self.content.problems.append(Problem('files left out', 'annotations', f'{what}: {shortened(files, 3)}'))

    def in_no_split(self, files: Sequence[str]) -> None:
        """Note annotated images, or files of annotations, in folders named after no split, where others are."""
        self.left_out(files, f'{len(files)} annotated images lie in folders named after no split, where others are')

    def finished(self) -> Content:
        """The content, its classes in order."""
        times = Counter(image['file_name'] for image in self.content['images'])
        if twice := [name for name, count in times.items() if count > 1]:
            self.content.notes.append(f'{len(twice)} images have annotations in several files, and come as often: '
                                      f'{shortened(twice, 3)}')
        if not self._named:
            order = {name: index for index, name in enumerate(sorted(self._ids))}
            new = {old: order[name] for name, old in self._ids.items()}
            for annotation in self.content['annotations']:
                annotation['category_id'] = new[annotation['category_id']]
            self.content['categories'] = [dict(id=index, name=name) for name, index in order.items()]
        return self.content
