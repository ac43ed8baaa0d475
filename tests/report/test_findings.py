"""What a report says in words."""
import pytest

from mmvision_mamba.report.findings import class_threshold, findings, learning
from mmvision_mamba.report.gathering import gather_run
from mmvision_mamba.visualization.curves import Run

from ..helpers.evaluations import CLASSES


def test_a_detector_s_worst_class_why_and_the_threshold(runs):
    worst, threshold, *_ = findings(gather_run(runs['detection']))
    assert worst.startswith(f'The worst class is ‘{CLASSES[2]}’: AP 0.')
    assert 'objects missed' in worst and 'mostly ‘square’' in worst
    assert 'rare in training: 5 of 100 objects' in worst
    assert threshold.startswith('Use the score threshold 0.4')
    assert '(recall)' in threshold and '(precision)' in threshold


def test_the_class_that_follows_the_worst_is_named(runs):
    worst, *_ = findings(gather_run(runs['detection']))
    measured = sorted((one['ap'], one['name']) for one in gather_run(runs['detection']).analysis['classes'])
    assert f'AP {measured[0][0]:.3f} of boxes, then ‘{measured[1][1]}’ {measured[1][0]:.3f}, of all classes' in worst


def test_that_a_segmentor_never_says_a_class_is_said(runs):
    run = gather_run(runs['segmentation'])
    run.analysis['classes'][0].update(iou=0., precision=None, accuracy=0.)
    assert 'No pixel is said to be it. 100% of its pixels are taken for something else' in findings(run)[0]


def test_a_class_of_few_objects_has_the_threshold_of_all():
    overall, own = dict(score_thr=0.4), dict(score_thr=0.9)
    assert class_threshold(dict(objects=10, best=own), overall) == 0.9
    assert class_threshold(dict(objects=9, best=own), overall) == 0.4
    assert class_threshold(dict(objects=10, best=None), overall) == 0.4
    assert class_threshold(dict(objects=0, best=None), None) is None


def test_a_segmentor_s_and_a_classifier_s_worst_class(runs):
    assert 'The worst class is ‘circle’: IoU 0.' in findings(gather_run(runs['segmentation']))[0]
    said = findings(gather_run(runs['classification']))[0]
    assert f'The worst class is ‘{CLASSES[2]}’' in said and 'taken for ‘circle’ most often' in said


@pytest.mark.parametrize('values, said', [
    ([0.1, 0.2, 0.3], 'a longer training may bring more'),
    ([0.1, 0.5, 0.3], 'take the best checkpoint, or stop earlier'),
    ([0.1, 0.3, 0.3], 'it has levelled off'),
])
def test_whether_it_still_learns(values, said):
    run = Run('run', None, val={'coco/bbox_mAP': [(i, value) for i, value in enumerate(values)]})
    sentence, = learning(run)
    assert said in sentence


def test_a_rising_validation_loss_is_said():
    run = Run('run', None, val={'val/loss': [(1, 2.), (2, 1.), (3, 1.5)]})
    assert 'by heart' in next(learning(run))
    assert not [*learning(Run('run', None, val={'val/loss': [(1, 2.), (2, 1.), (3, 1.)]}))]
