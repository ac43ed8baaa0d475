"""What a report says in words."""
import pytest

from mmvision_mamba.report.findings import _taken_for, class_threshold, findings, learning
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


@pytest.mark.parametrize(('row', 'said'), [
    ([50, 60, 20, 870], ', first of all ‘b’ (6%) and ‘a’ (5%)'), ([5, 80, 5, 910], ', mostly ‘b’ (8%)'),
    ([0, 0, 0, 1000], '')])
def test_what_the_pixels_of_a_class_are_taken_for(row, said):
    assert _taken_for(row, 3, 'abcd') == said


@pytest.mark.parametrize(('pixels', 'rare'), [([1107, 684, 1400, 6809], False), ([1107, 3000, 2500, 3393], True)])
def test_a_large_background_makes_no_class_rare(pixels, rare, runs):
    run = gather_run(runs['segmentation'])
    worst = run.analysis['classes'][0]
    run.analysis.update(pixels=sum(pixels), confusion=None, classes=[
        dict(worst, name=str(i), iou=0.5 + i / 10, pixels=count) for i, count in enumerate(pixels)])
    assert ('It is rare: 11.07% of the pixels' in findings(run)[0]) is rare


@pytest.mark.parametrize(('ap', 'said'), [(0.5, True), (0.85, False)])
def test_what_a_class_loses_at_stricter_overlaps_is_said(ap, said, runs):
    run = gather_run(runs['detection'])
    worst = min(run.analysis['classes'], key=lambda one: one['ap'])
    for kind, one in worst['errors'].items():
        one['cost'] = 0.04 * (kind == 'location')
    for one in run.analysis['classes']:
        one.update(ap=ap + 0.01 * (one is not worst), ap50=0.9)
    assert (f'More, {0.9 - ap:.3f}, it loses at stricter IoUs' in findings(run)[0]) is said


@pytest.mark.parametrize(('small', 'said'), [(0.4, True), (0.65, False)])
def test_the_hardest_size_of_objects_is_named(small, said, runs):
    run = gather_run(runs['detection'])
    run.analysis['sizes'] = dict(small=dict(objects=40, ap=small, ap50=0.8, recall=0.85),
                                 medium=dict(objects=50, ap=0.7, ap50=0.9, recall=0.9),
                                 large=dict(objects=3, ap=0.1, ap50=0.2, recall=0.3))
    sentence = ('Small objects are the hardest: AP 0.400 of boxes, of medium ones 0.700. Found at any score are 85% of '
                '40, of medium ones 90%.')
    assert (sentence in findings(run)) is said


def test_one_validation_tells_nothing_of_learning():
    sentence, = learning(Run('run', None, dict(loss=[(1, 2.)]), {'coco/bbox_mAP': [(400, 0.5)]}))
    assert sentence.startswith('It was validated once, at iteration 400')


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
