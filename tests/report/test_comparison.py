"""Runs side by side."""
import json

import pytest

from mmvision_mamba.errors import DataError
from mmvision_mamba.report.comparison import config_differences
from mmvision_mamba.report.making import make_comparison
from mmvision_mamba.report.recording import kept_at

from ..helpers.evaluations import write_run


def test_metrics_classes_and_configs_side_by_side(runs, tmp_path):
    other = write_run(tmp_path / 'other', 'detection', seed=5)
    (other / 'run.py').write_text("model = dict(type='Made', depth=4)\nlr = 0.001\n")
    page = make_comparison([runs['detection'], other], tmp_path / 'out')
    content = json.loads((page.parent / 'report.json').read_text())
    assert content['runs'] == ['detection', 'other'] and content['differences'] == {'model.depth': ['3', '4']}
    assert content['findings'][0].startswith('By AP (IoU 0.5 to 0.95) ') and len(content['classes']) == 3
    assert content['metrics']['coco/bbox_mAP (last validation)'] == [0.3, 0.3]


def test_that_runs_are_not_measured_on_the_same_is_said(runs, tmp_path):
    def said(*others):
        page = make_comparison([runs['detection'], *others], tmp_path / 'out')
        findings = json.loads((page.parent / 'report.json').read_text())['findings']
        return [one for one in findings if 'not measured' in one]

    same, fewer = write_run(tmp_path / 'same', 'detection'), write_run(tmp_path / 'fewer', 'detection', images=20)
    assert said(same) == []
    assert 'detection 24 images of its validation, boxes; fewer 20 images of its validation, boxes' in said(fewer)[0]


def test_runs_of_different_classes_are_not_compared(runs, tmp_path):
    other = write_run(tmp_path / 'other', 'detection')
    path = kept_at(other, 'val')
    content = json.loads(path.read_text())
    content['analysis']['classes'][0]['name'] = 'disc'
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match='detection alone has circle; other alone has disc'):
        make_comparison([runs['detection'], other], tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_runs_of_different_tasks_are_not_compared(runs, tmp_path):
    with pytest.raises(DataError, match='different tasks'):
        make_comparison([runs['detection'], runs['segmentation']], tmp_path / 'out')


def test_runs_of_the_same_name_are_told_by_their_paths(runs, tmp_path):
    other = write_run(tmp_path / 'detection', 'detection')
    page = make_comparison([runs['detection'], other], tmp_path / 'out')
    assert json.loads((page.parent / 'report.json').read_text())['runs'] == [str(runs['detection']), str(other)]


def test_configs_are_compared_without_running_them():
    texts = ["import os\nos.abort()\na = [dict(type='A'), dict(type='B', k=1)]\nwork_dir = 'x'",
             "a = [dict(type='A'), dict(type='B', k=2)]\nb = 3\nwork_dir = 'y'", '][']
    assert config_differences(texts[:2]) == {'a.1.k': ['1', '2'], 'b': ['(not set)', '3']}
    assert config_differences(texts)['b'] == ['(not set)', '3', '(not set)']
