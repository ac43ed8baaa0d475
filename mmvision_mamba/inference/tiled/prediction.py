"""A prediction for a picture of any size: what it returns, what it writes, and what is drawn of it."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData

from ...datasets.georeference import Georeference
from ...datasets.label_maps import IGNORED
from ...files import replace
from ..results import Results, result_files
from ..sources import Source
from .files import write_geojson, write_label_geojson, write_png, write_tiff
from .instances import Instance, coco_results
from .segmentor import LabelFile

MOST_DRAWN = 200  # instances in a picture, those of the highest scores: each has a mask of its size while it is drawn


@dataclass
class TiledPrediction:
    """A prediction for a picture that is larger than memory has room for, maybe.

    Args:
        source: the input it comes from.
        height, width: of the picture, in pixels.
        georeference: of a TIFF; None: the picture is none.
        factor: by which the sides of `image` are smaller than the picture's.
        image: the reduced picture, uint8 ``(h, w, 3)``, BGR; None: it is not to be drawn.
        instances: of a detector. Default: none.
        labels: of a segmentor, in a file that is there until the next prediction. Default: none.
        written: the labels of a picture whose files an earlier run has written, read on demand. Default: it has not.
    """
    source: Source
    height: int
    width: int
    georeference: Georeference | None
    factor: int = 1
    image: np.ndarray | None = None
    instances: list[Instance] | None = None
    labels: LabelFile | None = None
    written: Callable[[], np.ndarray] | None = None
    frame: int = 0

    def to_dict(self) -> dict:
        """The prediction as plain data, as `results.to_dict` has that of any image.

        Labels are of 8 bits, or 16 for more than 255 classes; masks are encoded without being made.
        """
        if self.instances is None:
            return dict(sem_seg=self.written() if self.labels is None else self.labels.rows())  # type: ignore[misc]
        found = dict(labels=[one.label for one in self.instances], scores=[one.score for one in self.instances],
                     bboxes=[list(one.box) for one in self.instances])
        masks = [one.mask.in_picture(self.height, self.width) for one in self.instances if one.mask is not None]
        return found | (dict(masks=masks) if masks or not found['labels'] else {})

    def add_to(self, results: Results) -> None:
        """Write the files of the prediction."""
        image_id = results.add_image(self.source, self.height, self.width)
        if self.instances is not None:
            found = coco_results(self.instances, image_id, results.ids.categories, self.height, self.width)
            results.add_instances(result_files(found, any('segmentation' in one for one in found)))
            if self.georeference is not None and self.georeference.tags:
                instances, georeference = self.instances, self.georeference
                replace(results.out_dir / 'preds' / f'{self.source.output}.geojson', lambda path: write_geojson(
                    path, instances, results.ids.categories, georeference))
            return
        results.maps = True
        if (labels := self.labels) is None:
            return
        style = len(results.classes), results.palette, results.reduce_zero_label
        georeference = self.georeference
        path = results.out_dir / 'preds' / map_name(self.source, georeference)
        replace(path, (lambda to: write_png(to, labels, *style)) if georeference is None else
                (lambda to: write_tiff(to, labels, *style, georeference)))
        if results.polygons:
            categories, left_out = results.ids.categories, [IGNORED] if len(results.classes) <= IGNORED else []
            replace(results.out_dir / 'preds' / f'{self.source.output}.geojson', lambda to: write_label_geojson(
                to, labels, categories, left_out, georeference, results.reduce_zero_label))

    @property
    def sample(self) -> BaseDataElement:
        """mmdet's DetDataSample or mmseg's SegDataSample of the reduced picture, for drawing."""
        assert self.image is not None
        height, width = self.image.shape[:2]
        if self.instances is None:
            from mmseg.structures import SegDataSample
            return SegDataSample(pred_sem_seg=PixelData(data=self._reduced_labels(height, width)[None]))
        from mmdet.structures import DetDataSample
        drawn = sorted(self.instances, key=lambda one: -one.score)[:MOST_DRAWN]
        found = InstanceData(
            bboxes=torch.tensor([one.box for one in drawn], dtype=torch.float).reshape(-1, 4) / self.factor,
            labels=torch.tensor([one.label for one in drawn], dtype=torch.long),
            scores=torch.tensor([one.score for one in drawn]))
        if drawn and drawn[0].mask is not None:
            found.masks = torch.from_numpy(self._reduced_masks(drawn, height, width))
        return DetDataSample(pred_instances=found)

    def _reduced_labels(self, height: int, width: int) -> torch.Tensor:
        reduced = np.empty((height, width), np.int64)
        columns = np.minimum(np.arange(width) * self.factor + self.factor // 2, self.width - 1)
        for row in range(height):
            top = min(row * self.factor + self.factor // 2, self.height - 1)
            reduced[row] = self.labels.rows(top, top + 1)[0, columns]  # type: ignore[union-attr]
        return torch.from_numpy(reduced)

    def _reduced_masks(self, instances: Sequence[Instance], height: int, width: int) -> np.ndarray:
        masks = np.zeros((len(instances), height, width), bool)
        for pixels, instance in zip(masks, instances):
            rows, columns = np.nonzero(instance.mask.pixels())  # type: ignore[union-attr]
            pixels[(rows + instance.mask.y) // self.factor, (columns + instance.mask.x) // self.factor] = True  # type: ignore[union-attr]
        return masks


def map_name(source: Source, georeference: Georeference | None) -> str:
    """The name of a label map's file: a TIFF of a TIFF."""
    return f'{source.output}.png' if georeference is None else f'{source.output}.tif'
