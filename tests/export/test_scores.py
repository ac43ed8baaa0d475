import json

import numpy as np
import pytest
import torch

from mmvision_mamba.commands import call
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.export import scores
from mmvision_mamba.preflight.read import read_config
from mmvision_mamba.runtime.loaders import load_model

from ..helpers import formats


def test_mean_iou_is_mmsegs(configs, shapes, monkeypatch):
    """Of the same maps: what tools/test.py prints."""
    from mmseg.evaluation import IoUMetric
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    cfg = read_config(configs.segmentor)
    data = list(scores.labelled(cfg, 'test', 3))
    maps = [torch.randint(0, 4, (64, 64)).numpy() for _ in data]
    metric = IoUMetric(iou_metrics=['mIoU'])
    metric.dataset_meta = dict(classes=list('abcd'))
    metric.process({}, [dict(pred_sem_seg=dict(data=torch.from_numpy(found)[None]), gt_sem_seg=dict(data=truth[None]))
                        for found, (_, truth) in zip(maps, data)])
    found = iter(maps)
    wanted = metric.evaluate(3)['mIoU']
    assert scores.mean_iou(lambda path: next(found), data, 4) == pytest.approx(wanted, abs=0.01)


@pytest.mark.parametrize('kind', ['yolo', 'colours'])
def test_maps_of_any_format_are_the_truth(kind, tmp_path):
    root = formats.yolo(tmp_path) if kind == 'yolo' else formats.masks(tmp_path, kind)
    cfg = read_config('upernet_mambavision_t_custom', {'data_root': str(root)})
    maps = [truth.numpy() for _, truth in scores.labelled(cfg, 'test', 9)]
    for number, truth in enumerate(maps):
        np.testing.assert_array_equal(truth, formats.label_map(formats.objects('val', number)))
    assert len(maps) == 2


def test_average_precisions_are_those_of_the_command_test(model_files, exported_files, shapes, tmp_path, monkeypatch):
    """Of all images; of some of them, those of a data set that has no others. The truth is some of what is found."""
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    config, file = str(model_files.detector.config), exported_files['detector.onnx']
    data, model = json.loads((shapes / 'annotations/instances_val.json').read_text()), load_model(file)
    objects = []
    for image in data['images']:
        found = model(shapes / 'val' / image['file_name'])
        for (x, y, right, low), label in list(zip(found.boxes.tolist(), found.labels.tolist()))[1:9:2]:
            box = [x, y, right - x, low - y]
            objects.append(dict(id=len(objects) + 1, image_id=image['id'], bbox=box, area=box[2] * box[3], iscrowd=0,
                                category_id=data['categories'][label]['id'],
                                segmentation=[[x, y, right, y, right, low, x, low]]))
    for images, most in ((data['images'], 3), ([data['images'][0], data['images'][2]], 2)):
        chosen = [image['id'] for image in images]
        truth = tmp_path / f'{most}.json'
        truth.write_text(json.dumps(dict(data, images=images, annotations=[
            one for one in objects if one['image_id'] in chosen])))
        options = {'test_dataloader.dataset.ann_file': str(truth), 'test_evaluator.ann_file': str(truth)}
        call('test', config=config, checkpoint=str(file), work_dir=str(tmp_path), no_report=True, cfg_options=options)
        wanted = json.loads((tmp_path / 'metrics.json').read_text())
        whole = {key: str(tmp_path / '3.json') for key in options}
        found = scores.average_precisions(read_config(config, whole, trained=True), file, most)
        assert found == {name: pytest.approx(100 * wanted[f'coco/{name}']) for name in ('bbox_mAP', 'segm_mAP')}
        assert 5 < found['bbox_mAP'] < 95, 'a test of nothing'


def test_data_without_objects_judge_no_detector(model_files, exported_files, shapes, tmp_path, monkeypatch):
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    empty = tmp_path / 'empty.json'
    empty.write_text(json.dumps(json.loads((shapes / 'annotations/instances_val.json').read_text())
                                | dict(annotations=[])))
    cfg = read_config(model_files.detector.config, {'test_dataloader.dataset.ann_file': str(empty),
                                                    'test_evaluator.ann_file': str(empty)}, trained=True)
    with pytest.raises(ConfigError, match='show no AP'):
        scores.average_precisions(cfg, exported_files['detector.onnx'], 3)


def test_a_change_of_features_is_relative():
    wanted = [np.array([[3., 4.]]), np.array([0., 2.])]
    assert scores.change(wanted, [2 * wanted[0], wanted[1] + [1, 0]]) == [1., 0.5]


def test_images_are_spread_over_the_split(configs, shapes, monkeypatch):
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    cfg = read_config(configs.detector)
    assert [path.name for path in scores.pictures(cfg, 'test', 2)] == ['000000.png', '000002.png']
    assert len(scores.pictures(cfg, 'train', 99)) == 6
