"""The analysis of segmentors, against mmseg's IoUMetric."""
import numpy as np
import pytest

pytest.importorskip('mmseg')

from mmvision_mamba.report.segmentation import Segments

from ..helpers.evaluations import CLASSES, SIDE, evaluated, picture, recorder, segmentations


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


@pytest.mark.parametrize('rows', [1, 7, 40, 96])
def test_strips_of_a_picture_have_the_analysis_of_the_whole(rows):
    """And its picture is what came with them: none is read."""
    dataset, samples = segmentations()
    whole, strips = recorder(dataset), recorder(dataset)
    strips.read = None
    whole.process({}, samples)
    for sample in samples:
        for top in range(0, SIDE, rows):
            strips.process_strip(dict(
                sample, reduced=picture(sample['img_path']),
                **{key: dict(data=sample[key]['data'][:, top:top + rows]) for key in ('gt_sem_seg', 'pred_sem_seg')}),
                top, (SIDE, SIDE))
    for made in (whole, strips):
        made.evaluate(len(samples))
    assert strips.content == whole.content and all(one['truth'] for one in strips.content['pictures'])


@pytest.mark.parametrize('rows', [5, 96])
def test_boundaries_of_large_pictures_are_those_of_every_nth_pixel(rows, monkeypatch):
    monkeypatch.setattr('mmvision_mamba.report.segmentation.MOST_PIXELS', SIDE * SIDE / 5)  # every third
    dataset, (sample, *_) = segmentations()
    segments, maps = Segments(dataset, CLASSES, [(0, 0, 0)] * 3), {
        key: sample[key]['data'] for key in ('gt_sem_seg', 'pred_sem_seg')}
    found = [segments.take_strip({key: dict(data=map_[:, top:top + rows]) for key, map_ in maps.items()}, top,
                                 (SIDE, SIDE)) for top in range(0, SIDE, rows)]
    assert found[:-1] == [None] * (len(found) - 1)
    whole = segments.take({key: dict(data=map_) for key, map_ in maps.items()})
    small = segments.take({key: dict(data=map_[:, ::3, ::3]) for key, map_ in maps.items()})
    assert found[-1]['boundaries'] == small['boundaries'] and found[-1]['truth'] == small['truth']
    assert found[-1]['codes'].tolist() == whole['codes'].tolist() and found[-1]['size'] == whole['size']
    assert found[-1]['counts'].tolist() == whole['counts'].tolist()
