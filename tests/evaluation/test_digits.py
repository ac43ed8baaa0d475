"""Metrics come with all their digits; what the toolboxes log stays rounded."""
import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine.evaluator import BaseMetric

from mmvision_mamba.evaluation.digits import keep_digits

BOXES = torch.tensor([[0., 0, 30, 30], [50, 50, 90, 80], [10, 60, 25, 90]])


def samples(count=7):
    """Images of three objects; in the i-th all but i % 3 are found, a little aside."""
    for i in range(count):
        found = BOXES[i % 3:] + i
        yield dict(img_id=i, ori_shape=(100, 100), instances=[
            dict(bbox=box, bbox_label=label, ignore_flag=0) for label, box in enumerate(BOXES.tolist())],
            gt_instances=dict(bboxes=BOXES, labels=torch.arange(3)),
            ignored_instances=dict(bboxes=BOXES[:0], labels=torch.arange(0)),
            pred_instances=dict(bboxes=found, labels=torch.arange(i % 3, 3),
                                scores=torch.linspace(0.9, 0.5, len(found))))


def measured(metric, classes=('a', 'b', 'c')):
    metric.dataset_meta = dict(classes=classes)
    metric.process({}, list(samples()))
    return metric.evaluate(7)


def digits(value):
    return len(repr(float(value)).partition('.')[2])


def test_coco():
    from mmdet.evaluation import CocoMetric
    options = dict(metric=['bbox', 'proposal'], classwise=True)
    rounded = measured(CocoMetric(**options))
    metric = CocoMetric(**options)
    keep_digits(metric)
    exact = measured(metric)
    assert list(exact) == list(rounded) and 'coco/b_precision' in exact and 'coco/AR@300' in exact
    for key, value in exact.items():
        assert round(value, 3) == pytest.approx(rounded[key], abs=1e-9)
    assert digits(exact['coco/bbox_mAP']) > 6 and digits(exact['coco/b_precision']) > 6
    assert np.mean([exact[f'coco/{name}_precision'] for name in 'abc']) == pytest.approx(exact['coco/bbox_mAP'])
    assert measured(CocoMetric(**options)) == rounded, 'only what was asked to'


def test_lvis_has_no_axis_of_most_detections():
    """The package is not installed in every environment: its evaluation in the form that it has, 0.5.3."""
    from types import SimpleNamespace

    from mmvision_mamba.evaluation.digits import _detection
    precision = np.full((10, 101, 2, 4), -1.)
    precision[:, :, 1] = 0.25
    evaluation = SimpleNamespace(get_results=lambda: dict(AP=0.25), eval=dict(precision=precision))
    metric = SimpleNamespace(cat_ids=[1, 2], _coco_api=SimpleNamespace(cats={1: dict(name='a'), 2: dict(name='b')}))
    assert dict(_detection('bbox', evaluation, metric)) == dict(bbox_AP=0.25, b_precision=0.25)


def test_voc():
    from mmdet.evaluation import VOCMetric
    metric = VOCMetric(iou_thrs=[0.5])
    keep_digits(metric)
    found = measured(metric)
    assert found['pascal_voc/AP50'] == pytest.approx(found['pascal_voc/mAP'], abs=1e-9)
    assert digits(found['pascal_voc/AP50']) > 3


def test_segmentation():
    from mmseg.evaluation import IoUMetric
    truth, found = torch.randint(0, 3, (2, 1, 37, 41))
    metric = IoUMetric(iou_metrics=['mIoU', 'mFscore'])
    keep_digits(metric)
    metric.dataset_meta = dict(classes=('a', 'b', 'c', 'nowhere'))
    metric.process({}, [dict(pred_sem_seg=dict(data=found), gt_sem_seg=dict(data=truth))])
    values = metric.evaluate(1)
    assert values['aAcc'] == pytest.approx(100 * (truth == found).float().mean().item(), rel=1e-6)
    ious = [((truth == c) & (found == c)).sum() / ((truth == c) | (found == c)).sum() for c in range(3)]
    assert values['mIoU'] == pytest.approx(100 * np.mean(ious), rel=1e-6) and digits(values['mFscore']) > 4


def test_another_metric_stays_as_it_is():
    class Length(BaseMetric):
        def process(self, data_batch, data_samples):
            self.results += data_samples

        def compute_metrics(self, results):
            return dict(length=len(results), name='x')
    metric = Length()
    keep_digits(metric)
    metric.process({}, [1, 2])
    assert metric.evaluate(2) == dict(length=2, name='x')
