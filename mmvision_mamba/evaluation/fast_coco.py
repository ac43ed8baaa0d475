"""pycocotools' evaluation with the slow half, matching and accumulating, by faster-coco-eval: the same numbers, bit for
bit.

faster-coco-eval's precision is ``tp / (tp + fp)``, pycocotools' ``tp / (tp + fp + 2**-52)``. These differ, by one bit,
where one detection alone is counted; everything else of the two agrees.
"""
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval.core.faster_eval_api import COCOeval_faster
from pycocotools.cocoeval import COCOeval

# Any half-open interval (x, 2x] has one of them: the recall of the second of all objects, and not that of the first.
_POWERS = 2. ** np.arange(-40, 1)


class FastCOCOeval(COCOeval):
    """pycocotools' `COCOeval` of boxes and masks, which leaves `evalImgs`, matches by image, empty.

    Masks, overlaps and the summary are pycocotools' own. Key points are left to it as a whole.
    """

    def evaluate(self) -> None:
        if self.params.iouType not in ('bbox', 'segm'):
            super().evaluate()
            return
        p = self.params
        p.imgIds = list(np.unique(p.imgIds))
        if p.useCats:
            p.catIds = list(np.unique(p.catIds))
        p.maxDets = sorted(p.maxDets)
        self._prepare()
        self._paramsEval = p
        self._matching = _Matching(self)
        self._matching.evaluate()
        self.ious = self._matching.ious

    def accumulate(self, p: Any = None) -> None:
        if self.params.iouType not in ('bbox', 'segm') or p is not None:
            super().accumulate(p)
            return
        found, p = self._matching.eval, self.params
        count = len(p.recThrs)
        precision = np.asarray(found['precision'], float)
        lonely = _lonely(precision[:, count:], self._objects())
        precision = np.ascontiguousarray(precision[:, :count])
        precision[np.broadcast_to(lonely[:, None], precision.shape) & (precision == 1)] = 1 / (1 + np.spacing(1))
        self.eval = dict(
            params=p, counts=[*precision.shape], date=found.get('date'), precision=precision,
            recall=np.asarray(found['recall'], float),
            scores=np.ascontiguousarray(np.asarray(found['scores'], float)[:, :count]))

    def _objects(self) -> np.ndarray:
        """``(categories, areas)``: objects that count."""
        p = self.params
        places = {category: i for i, category in enumerate(p.catIds)} if p.useCats else {}
        counts = np.zeros((len(places) or 1, len(p.areaRng)), int)
        images = set(p.imgIds)
        for (image, category), objects in self._gts.items():
            if image not in images or (p.useCats and category not in places):
                continue
            row = counts[places.get(category, 0)]
            for object_ in objects:
                if not object_['ignore']:
                    row += [not (object_['area'] < low or object_['area'] > high) for low, high in p.areaRng]
        return counts


class _Matching(COCOeval_faster):
    """faster-coco-eval's evaluation, over what pycocotools has prepared."""

    def __init__(self, evaluation: FastCOCOeval):
        super().__init__(iouType=evaluation.params.iouType, print_function=lambda *_: None)
        self.evaluation = evaluation
        p = evaluation.params
        for name in ('imgIds', 'catIds', 'maxDets', 'iouThrs', 'areaRng', 'areaRngLbl', 'useCats'):
            setattr(self.params, name, getattr(p, name))
        self.params.recThrs = np.concatenate([p.recThrs, _POWERS])

    def _prepare(self) -> None:
        p, objects, found = self.params, self.evaluation._gts, self.evaluation._dts
        for data, items in ((self.gt_dataset, objects), (self.dt_dataset, found)):
            data.clean()
            for (image, category), annotations in items.items():
                for annotation in annotations:
                    data.append_ref(image, category, annotation)
        self._nonempty_iou_pairs = {*objects} & {*found} if p.useCats else {
            (image, -1) for image in {image for image, _ in objects} & {image for image, _ in found}}

    def computeIoU(self, imgId: int, catId: int) -> Sequence:
        return self.evaluation.computeIoU(imgId, catId)


def _lonely(precision: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Where the second object is found after a false alarm, or not at all, ``(IoUs, categories, areas, detections)``.

    Args:
        precision: at the recalls `_POWERS`, ``(IoUs, powers, categories, areas, detections)``.
        objects: ``(categories, areas)``.
    """
    lonely = np.empty((precision.shape[0], *precision.shape[2:]), bool)
    for category, area in itertools.product(*map(range, objects.shape)):
        count = objects[category, area]
        # With one object, or a second one that is not reached at full precision.
        place = np.searchsorted(_POWERS, 1 / count, side='right') if count > 1 else None
        lonely[:, category, area] = True if place is None else precision[:, place, category, area] < 1
    return lonely
