"""Pascal VOC's XML files, broken or hostile: refused in a line that names the file; reported by check-dataset."""
import json

import pytest
from mmdet.datasets import CocoDataset
from mmengine.registry import DATASETS, DefaultScope

from mmvision_mamba.preflight.report import check_config

from ..helpers.tiny_datasets import CLASSES, coco_config, coco_content, coco_dataset, picture, write

OBJECT = ('<object><name>square</name><bndbox><xmin>{}</xmin><ymin>5</ymin><xmax>30</xmax><ymax>30</ymax></bndbox>'
          '</object>')
PAGE = '<annotation><size><width>40</width><height>36</height></size>{}</annotation>'
LAUGHS = '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">' + ''.join(
    f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)) + ']><annotation>&j;</annotation>'
REFUSED = {
    'empty': ('', 'can not read it (ParseError'), 'cut off': (PAGE[:40], 'can not read it (ParseError'),
    'entities of entities': (LAUGHS, 'can not read it (ParseError'),
    'no box': (PAGE.format('<object><name>square</name></object>'), 'can not read it (AttributeError'),
    'an infinite box': (PAGE.format(OBJECT.format('1e400')), 'can not read it (OverflowError'),
    'a box that is NaN': (PAGE.format(OBJECT.format('nan')), 'can not read it (ValueError'),
    'a box of digits': (PAGE.format(OBJECT.format('9' * 5000)), 'can not read it (OverflowError'),
    'a box beyond 64 bits': (PAGE.format(OBJECT.format('-1' + '0' * 30)), 'an object whose box is [-1000000'),
    'a size in words': (PAGE.replace('40', '\nFORGED\x85'), r"can not read it (ValueError: invalid literal"),
    'no size, and no image': ('<annotation></annotation>', 'can not read it (error')}


@DATASETS.register_module(force=True)
class OwnCoco(CocoDataset):
    def load_data_list(self):
        return super().load_data_list()


@pytest.fixture
def cfg(tmp_path):
    cfg = coco_dataset(tmp_path)
    for i in range(3):
        write(tmp_path / f'voc/ann/{i}.xml', PAGE.format(OBJECT.format(5)))
        write(tmp_path / f'voc/img/{i}.jpg', picture('JPEG'))
    write(tmp_path / 'voc/all.txt', '0\n1\n2\n')
    for split in ('train', 'val'):
        loader = cfg[f'{split}_dataloader']
        loader.dataset = dict(
            type='XMLDataset', data_root=str(tmp_path / 'voc'), ann_file='all.txt', data_prefix=dict(sub_data_root=''),
            img_subdir='img', ann_subdir='ann', metainfo=dict(classes=CLASSES), test_mode=split != 'train',
            pipeline=loader.dataset.pipeline)
    cfg.val_evaluator = cfg.test_evaluator = dict(type='VOCMetric', metric='mAP')
    return cfg


def test_the_good_ones_work(cfg, run):
    assert len(run(cfg).samples) == 3


def test_bounds_that_loading_keeps_to_are_reported(cfg, run, tmp_path, monkeypatch):
    """By check-dataset in the same words, of a data set's own class too: here one that has masks."""
    monkeypatch.setenv('MMVISION_MAMBA_MAX_OBJECTS', '100')
    write(tmp_path / 'voc/ann/1.xml', PAGE.format(OBJECT.format(5) * 101))
    words = 'it has 101 objects, and 100 are allowed (MMVISION_MAMBA_MAX_OBJECTS=NUMBER in the environment'
    assert f'1.jpg: {words}' in run(cfg).refused
    with DefaultScope.overwrite_default_scope('mmdet'):
        problem, = [problem for report in check_config(cfg, ('train',)) for problem in report.problems]
        assert problem.kind == 'too many objects' and problem.where.endswith('1.jpg') and words in problem.detail
        content = coco_content()
        content['annotations'][1]['segmentation'] = dict(size=[36, 40], counts=[100])
        write(tmp_path / 'mine/annotations/train.json', json.dumps(content))
        own = coco_config(str(tmp_path / 'mine'))
        own.train_dataloader.dataset.update(type='OwnCoco', pipeline=[
            dict(type='LoadImageFromFile'), dict(type='mmdet.LoadAnnotations', with_bbox=True, with_mask=True)])
        problem, = [problem for report in check_config(own, ('train',)) for problem in report.problems]
    assert problem.kind == 'masks' and '/1.jpg' in problem.where and 'counts cover 100 of 1440' in problem.detail


@pytest.mark.parametrize('name', REFUSED)
def test_refused_by_name(name, cfg, run, tmp_path):
    text, words = REFUSED[name]
    write(tmp_path / 'voc/ann/1.xml', text)
    if name == 'no size, and no image':
        write(tmp_path / 'voc/img/1.jpg', b'')
    refused = run(cfg).refused
    assert words in refused and ('1.xml' in refused or 'img/1.jpg' in refused), refused
    assert len(refused) < 500 and 'FORGED' not in [line[:6] for line in refused.splitlines()]
    with DefaultScope.overwrite_default_scope('mmdet'):
        problem, = [problem for report in check_config(cfg, ('train',)) for problem in report.problems]
    assert '1.xml' in problem.detail or '1.jpg' in problem.where
