import numpy as np
import pytest
import torch

from mmvision_mamba.export import quantize
from mmvision_mamba.preflight.read import read_config

from ..helpers import formats


def test_mean_iou_is_mmsegs(configs, shapes, monkeypatch):
    """Of the same maps: what tools/test.py prints."""
    from mmseg.evaluation import IoUMetric
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    cfg = read_config(configs.segmentor)
    data = list(quantize.labelled(cfg, 'test', 3))
    maps = [torch.randint(0, 4, (64, 64)).numpy() for _ in data]
    metric = IoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = dict(classes=list('abcd'))
    metric.process({}, [dict(pred_sem_seg=dict(data=torch.from_numpy(found)[None]), gt_sem_seg=dict(data=truth[None]))
                        for found, (_, truth) in zip(maps, data)])
    found = iter(maps)
    wanted = metric.evaluate(3)['mIoU']
    assert quantize.mean_iou(lambda path: next(found), data, 4) == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize('kind', ['yolo', 'colours'])
def test_maps_of_any_format_are_the_truth(kind, tmp_path):
    root = formats.yolo(tmp_path) if kind == 'yolo' else formats.masks(tmp_path, kind)
    cfg = read_config('upernet_mambavision_t_custom', {'data_root': str(root)})
    maps = [truth.numpy() for _, truth in quantize.labelled(cfg, 'test', 9)]
    for number, truth in enumerate(maps):
        np.testing.assert_array_equal(truth, formats.label_map(formats.objects('val', number)))
    assert len(maps) == 2
