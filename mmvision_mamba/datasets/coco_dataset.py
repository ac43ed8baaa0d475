"""mmdet's CocoDataset over annotation files as label tools write them."""
from functools import partial

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO

from ..errors import DataError
from ..printable import shown
from .coco_annotations import check_files
from .coco_files import ids_of_classes, read_coco
from .coco_masks import masks_problem
from .merged_classes import Merged
from .tiles import Tiled


class MendedCOCO(COCO):
    """The COCO API over `read_coco`; categories come in the order in which their names are asked for.

    Args:
        annotation_file: path of the JSON file, or a data set in another format, see `formats`.
        boxes: what its boxes are, see `convert_boxes`. Default: x, y, width, height in pixels.
        merged: which categories become one class, see `merge_categories`. Default: each is one of its own.
    """

    def __init__(self, annotation_file: str, boxes: str | float | None = None, merged: Merged | None = None):
        super().__init__()
        self.dataset, _ = read_coco(annotation_file, boxes, merged, compact=True, last=True)
        check_files(self.dataset)
        self.dataset.setdefault('annotations', [])
        self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs

    def annToRLE(self, ann: dict):
        """The run lengths of an annotation's mask, as in pycocotools, which decodes whatever it is given.

        Raises:
            DataError: the mask is broken, or too large for `limits`.
        """
        image = self.imgs[ann['image_id']]
        if problem := masks_problem([ann['segmentation']], image['height'], image['width'], as_bitmaps=False):
            raise DataError(f'annotation {shown(ann.get("id"), 40)} ({shown(image.get("file_name"), 100)}): {problem}')
        return super().annToRLE(ann)

    def get_cat_ids(self, cat_names=(), sup_names=(), cat_ids=()) -> list:
        """Ids of the categories, as in mmdet; of `cat_names` alone as `ids_of_classes`."""
        if len(cat_names) == 0 or len(sup_names) or len(cat_ids) or isinstance(cat_names, str):
            return super().get_cat_ids(cat_names, sup_names, cat_ids)
        ids = ids_of_classes(self.dataset['categories'], cat_names, [*self.cat_img_map])
        for id_, name in zip(ids, cat_names):
            if id_ not in self.cats:
                self.cats[id_] = dict(id=id_, name=name)
                self.dataset['categories'].append(self.cats[id_])
        return ids


class MendedCocoDataset(Tiled, CocoDataset):
    """mmdet's `CocoDataset`, which reads its file through `read_coco` and numbers labels in the order of its classes.

    Sound files give the same samples as there, their polygons as arrays.

    Args:
        boxes: what the file's boxes are, see `convert_boxes`. Default: x, y, width, height in pixels.
        merged: which categories become one class, see `merge_categories`. Default: each is one of its own.
        *args, **settings: as for `CocoDataset` and `Tiled`.
    """

    def __init__(self, *args, boxes: str | float | None = None, merged: Merged | None = None, **settings):
        self.COCOAPI = partial(MendedCOCO, boxes=boxes, merged=merged)
        super().__init__(*args, **settings)
