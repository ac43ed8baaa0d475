"""Average precision against pycocotools, also by size and with crowds."""
import contextlib
import io

import numpy as np
import pytest

pytest.importorskip('pycocotools')

from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmvision_mamba.evaluation.detection_matches import SIZES, THRESHOLDS, average_precision, gather

from ..helpers.random_detections import as_detections, random_images


def coco_precisions(images, classes) -> np.ndarray:
    """COCO's AP `(10, classes, 4)` by IoU, class and size: all, small, medium, large."""
    coco, number = COCO(), iter(range(1, 10**6))
    coco.dataset = dict(
        info={}, images=[dict(id=i) for i in range(len(images))], categories=[dict(id=c) for c in range(classes)],
        annotations=[dict(id=next(number), image_id=i, category_id=int(label), bbox=box.tolist(),
                          area=float(box[2] * box[3]), iscrowd=int(crowd))
                     for i, (*_, truth, true_labels, crowds) in enumerate(images)
                     for box, label, crowd in zip(truth, true_labels, crowds)])
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes([
            dict(image_id=i, category_id=int(label), bbox=box.tolist(), score=float(score))
            for i, (boxes, labels, scores, *_) in enumerate(images)
            for box, label, score in zip(boxes, labels, scores)]), 'bbox')
        evaluation.evaluate()
        evaluation.accumulate()
    values = evaluation.eval['precision'][:, :, :, :, -1]
    return np.where(values < 0, np.nan, values).mean(axis=1)


@pytest.mark.parametrize('seed', range(6))
def test_average_precision_is_that_of_pycocotools(seed):
    images = random_images(seed)
    reference = coco_precisions(images, 4)
    for i, sizes in enumerate([(0, 1e10), *SIZES.values()]):
        values = gather(as_detections(images), 4, THRESHOLDS, sizes).average_precisions()
        np.testing.assert_allclose(values, reference[..., i], atol=1e-12)
    assert np.nanmax(reference) > 0.2 and np.isfinite(reference[..., 1:]).any()


def test_a_class_without_objects_has_no_ap_and_one_without_detections_has_0():
    assert np.isnan(average_precision(np.array([False]), 0))
    assert average_precision(np.array([], bool), 3) == 0
    assert average_precision(np.array([True]), 1) == 1
