"""Segmentation maps of data sets whose objects have outlines, drawn when an image is loaded."""
import os.path as osp

from mmseg.datasets import BaseSegDataset

from ..errors import DataError
from .class_names import is_background
from .coco_annotations import check_files
from .coco_files import read_coco
from .map_drawing import drawn_order
from .merged_classes import Merged
from .tiles import Tiled


class DrawnMapDataset(Tiled, BaseSegDataset):
    """mmseg's `BaseSegDataset` for a COCO annotation file, or a data set in another format of objects.

    Its pipeline loads maps with `map_loading.LoadAnnotations`: larger objects are drawn first, so that smaller ones
    stay visible; crowds, and objects without an outline or of other classes, are not drawn.

    Args:
        merged: which categories become one class, see `merge_categories`; a background among them (`is_background`) is
            what no object covers, and all that no class stands for is unlabelled. Default: each is one of its own.
        ann_file: as for `coco_files.read_coco`.
        **settings: as for `BaseSegDataset` and `Tiled`; the first of `metainfo['classes']` is the background, unless
            a category has its name.

    Raises:
        DataError: the annotations can't be read.
    """

    def __init__(self, merged: Merged | None = None, **settings):
        self.merged = merged
        super().__init__(**settings)

    def load_data_list(self) -> list[dict]:
        content, _ = read_coco(self.ann_file, merged=self.merged, compact=True, last=True)
        check_files(content)
        labels = {name: label for label, name in enumerate(self.metainfo['classes'])}
        other, uncovered = None, 0
        if self.merged is not None:
            other = self.ignore_index
            uncovered = next((labels[class_] for class_, names in self.merged if any(map(is_background, names))),
                             other)
        label_of = {c['id']: labels.get(c['name'], other) for c in content['categories']}
        objects: dict[int | str, list[tuple]] = {}
        for annotation in content.get('annotations') or ():
            if (label := label_of.get(annotation['category_id'])) is not None:
                objects.setdefault(annotation['image_id'], []).append((label, annotation))
        infos = []
        for image in content['images']:
            shapes = drawn_order(objects.get(image['id'], ()))
            infos.append(dict(
                img_path=osp.join(self.data_prefix['img_path'], image['file_name']), seg_map_path=None,
                height=image['height'], width=image['width'], shapes=shapes, uncovered=uncovered, label_map=None,
                reduce_zero_label=self.reduce_zero_label, seg_fields=[]))
        if not infos:
            raise DataError(f'{self.ann_file}: there are no images')
        return infos
