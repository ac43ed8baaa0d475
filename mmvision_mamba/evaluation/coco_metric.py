"""mmdet's CocoMetric over annotation files as label tools write them."""
from mmdet.evaluation import CocoMetric
from mmengine.fileio import get_local_path

from ..datasets.coco_dataset import MendedCOCO


class MendedCocoMetric(CocoMetric):
    """mmdet's `CocoMetric`, which reads its ground truth as `MendedCocoDataset` does.

    A class that the file lacks has no AP, and does not count in the mean. Sound files give the same results as there.

    Args:
        ann_file: path of the annotation file. Default: the data set's annotations.
        boxes: what the file's boxes are, see `convert_boxes`. Default: x, y, width, height in pixels.
        **settings: as for `CocoMetric`.
    """

    def __init__(self, ann_file: str | None = None, boxes: str | float | None = None, **settings):
        super().__init__(**settings)
        if ann_file is not None:
            with get_local_path(ann_file, backend_args=self.backend_args) as path:
                self._coco_api = MendedCOCO(path, boxes)
