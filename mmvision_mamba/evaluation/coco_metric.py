"""mmdet's CocoMetric over annotation files as label tools write them."""
from mmdet.evaluation import CocoMetric
from mmengine.fileio import get_local_path

from ..datasets.coco_dataset import MendedCOCO
from ..datasets.merged_classes import Merged


class MendedCocoMetric(CocoMetric):
    """mmdet's `CocoMetric`, which reads its ground truth as `MendedCocoDataset` does.

    A class that the file lacks has no AP, and does not count in the mean. Sound files give the same results as there.

    Args:
        ann_file: path of the annotation file. Default: the data set's annotations.
        boxes: what the file's boxes are, see `convert_boxes`. Default: x, y, width, height in pixels.
        merged: which categories become one class, see `merge_categories`. Default: each is one of its own.
        **settings: as for `CocoMetric`.
    """

    def __init__(self, ann_file: str | None = None, boxes: str | float | None = None, merged: Merged | None = None,
                 **settings):
        super().__init__(**settings)
        if ann_file is not None:
            with get_local_path(ann_file, backend_args=self.backend_args) as path:
                self._coco_api = MendedCOCO(path, boxes, merged)

    def compute_metrics(self, results: list) -> dict:
        if self.cat_ids is None and self._coco_api is not None:
            self.cat_ids = _CategoryIds(self._coco_api.get_cat_ids(cat_names=self.dataset_meta['classes']))
        return super().compute_metrics(results)


class _CategoryIds(list):
    """Category ids by label, which come in ascending order when they are iterated over.

    mmdet numbers results by label, and goes through the APs of classes in this order; pycocotools sorts them by id.
    """

    def __iter__(self):
        return iter(sorted(super().__iter__()))
