"""LVIS's evaluation with the numpy of today."""
import json

import numpy as np
import pytest

pytest.importorskip('mmdet')

from mmdet.evaluation import metrics

from mmvision_mamba.evaluation.lvis_metric import LVISMetric


def test_the_name_that_lvis_needs_is_there_while_it_computes(monkeypatch):
    seen = []
    monkeypatch.setattr(metrics.LVISMetric, 'compute_metrics', lambda self, results: seen.append(np.float) or results)
    assert LVISMetric.compute_metrics(LVISMetric.__new__(LVISMetric), dict(a=1)) == dict(a=1)
    assert seen == [float] and not hasattr(np, 'float')


def test_what_was_annotated_is_found(tmp_path):
    """Where the package is installed: the annotations as predictions have an AP of 1."""
    pytest.importorskip('lvis')
    import torch
    boxes, labels = [[4, 6, 40, 50], [30, 8, 60, 44]], [3, 900]
    images = [dict(id=i + 1, width=64, height=64, neg_category_ids=[], not_exhaustive_category_ids=[],
                   coco_url=f'http://x/val2017/{i}.jpg') for i in range(3)]
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    for mask, (x, y, right, bottom) in zip(masks, boxes):
        mask[y:bottom, x:right] = 1
    annotations = [dict(id=2 * i + j + 1, image_id=i + 1, category_id=labels[j] + 1, area=(x2 - x) * (y2 - y),
                        bbox=[x, y, x2 - x, y2 - y], segmentation=[[x, y, x2, y, x2, y2, x, y2]])
                   for i in range(3) for j, (x, y, x2, y2) in enumerate(boxes)]
    path = tmp_path / 'lvis.json'
    path.write_text(json.dumps(dict(images=images, annotations=annotations, categories=[
        dict(id=i + 1, name=str(i), frequency='rcf'[i % 3]) for i in range(1203)])))
    metric = LVISMetric(ann_file=str(path), metric=['bbox', 'segm'])
    metric.dataset_meta = dict(classes=[str(i) for i in range(1203)])
    prediction = dict(bboxes=torch.tensor(boxes, dtype=torch.float32), scores=torch.tensor([0.9, 0.8]),
                      labels=torch.tensor(labels), masks=masks)
    metric.process({}, [dict(img_id=i + 1, ori_shape=(64, 64), pred_instances=prediction) for i in range(3)])
    found = metric.evaluate(3)
    assert found['lvis/bbox_AP'] == found['lvis/segm_AP'] == 1.
