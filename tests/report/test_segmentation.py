"""The analysis of segmentors, against mmseg's IoUMetric."""
import numpy as np
import pytest

pytest.importorskip('mmseg')

from ..helpers.evaluations import CLASSES, evaluated, segmentations


def test_iou_and_accuracy_are_those_of_mmseg():
    from mmseg.evaluation import IoUMetric
    _, samples = segmentations()
    metric = IoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, samples)
    areas = [sum(part) for part in zip(*metric.results)]
    intersections, unions, _, truth = (np.asarray(part, float) for part in areas)
    analysis = evaluated('segmentation').content['analysis']
    assert [one['iou'] for one in analysis['classes']] == pytest.approx((intersections / unions).tolist(), abs=1e-5)
    assert [one['pixels'] for one in analysis['classes']] == truth.tolist()
    assert [one['accuracy'] for one in analysis['classes']] == pytest.approx((intersections / truth).tolist(), abs=1e-5)
    assert analysis['overall']['accuracy'] == pytest.approx(intersections.sum() / truth.sum(), abs=1e-5)
    assert all(0 < one['boundary_iou'] <= one['iou'] for one in analysis['classes'])


def test_the_worst_image_has_the_lowest_iou():
    pictures = evaluated('segmentation').content['pictures']
    shares = [float(one['note'].split()[1].rstrip(',')) for one in pictures if one['role'] == 'worst']
    assert shares == sorted(shares) and len(shares) == 4, 'half of eight images'
    assert all(one['truth'] and one['prediction'] for one in pictures)
