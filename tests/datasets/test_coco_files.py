"""Annotation files: compact in memory, and read once in a run."""
import json
import os

import numpy as np
import pytest

from mmvision_mamba.datasets import coco_files
from mmvision_mamba.datasets.coco_annotations import coco_problems
from mmvision_mamba.datasets.coco_files import drop_kept, read_coco, reading_once

from ..helpers import formats

POLYGONS = {'sound': [1, 2, 30.5, 2, 30, 40], 'whole numbers': [1, 2, 30, 2, 30, 40], 'short': [1, 2, 3], 'empty': [],
            'no numbers': [1, '2', 30, 2, 30, 40], 'nan': [1, float('nan'), 30, 2, 30, 40],
            'true': [True, 2, 3, 4, 5, 6], 'far out': [1, 2, 1e9, 2, 30, 40],
            'digits': [10**400, 2, 3, 4, 5, 6], 'deep': [[1, 2, 3, 4, 5, 6]]}


def plain(value):
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    value = value.tolist() if isinstance(value, np.ndarray) else value
    return [plain(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize('name', POLYGONS)
def test_compact_content_says_the_same(name, tmp_path):
    path = formats.coco(tmp_path) / 'train/annotations.json'
    content = json.loads(path.read_text())
    first, second, third, *_ = content['annotations']
    first['segmentation'] = [POLYGONS[name], POLYGONS['sound']]
    second['segmentation'] = POLYGONS[name]
    for annotation in (first, third):
        del annotation['bbox'], annotation['area']
    path.write_text(json.dumps(content))
    (one, notes), (other, other_notes) = read_coco(path), read_coco(path, compact=True)
    assert repr(plain(one)).replace('.0', '') == repr(plain(other)).replace('.0', '')
    assert notes == other_notes
    found = [[(p.kind, p.where) for p in coco_problems(content, masks=True, evaluated=('bbox', 'segm'))]
             for content in (one, other)]
    assert found[0] == found[1]


def test_compact_content_is_arrays(tmp_path):
    content, _ = read_coco(formats.coco(tmp_path) / 'train/annotations.json', compact=True)
    assert all(polygon.dtype == float for a in content['annotations'] for polygon in a['segmentation'])


@pytest.mark.parametrize('name', ['coco', 'yolo'])
def test_a_run_reads_its_annotations_once(name, tmp_path, monkeypatch):
    pytest.importorskip('mmdet')
    from mmengine.registry import DATASETS, DefaultScope

    from mmvision_mamba.preflight.check_data import check_datasets
    from mmvision_mamba.preflight.read import read_config
    root, read = formats.WRITERS[name](tmp_path), []
    for module, function in ((coco_files, 'read_json'), (coco_files.formats, 'read')):
        real = getattr(module, function)
        monkeypatch.setattr(module, function,
                            lambda path, *args, real=real: read.append(str(path)) or real(path, *args))

    def run():
        read.clear()
        cfg = read_config('faster_rcnn_mambavision_t_custom', dict(data_root=str(root)))
        check_datasets(cfg, ('train', 'val'))
        with DefaultScope.overwrite_default_scope('mmdet'):
            return len(DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[])))

    count = run()
    assert sum('train' in path.rpartition('/')[2] or '/train/' in path for path in read) == 3
    with reading_once():
        assert run() == count
        assert sum('train' in path.rpartition('/')[2] or '/train/' in path for path in read) == 1
        assert run() == count  # the data set has taken it
        drop_kept()
        run()
    assert sum('train' in path.rpartition('/')[2] or '/train/' in path for path in read) == 3


def test_a_file_that_has_changed_is_read_again(tmp_path):
    path = formats.coco(tmp_path) / 'train/annotations.json'
    with reading_once():
        content, _ = read_coco(path, compact=True)
        assert read_coco(path, compact=True)[0] is content and read_coco(path)[0] is not content
        assert read_coco(path, 'xyxy', compact=True)[0] is not content
        os.utime(path, ns=(1, 1))
        assert read_coco(path, compact=True)[0] is not content
    assert read_coco(path, compact=True)[0] is not content
