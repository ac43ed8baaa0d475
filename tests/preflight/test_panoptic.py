"""COCO's panoptic files before a run and in check-dataset's report: sound ones, and each kind of problem."""
import json

import numpy as np
import pytest

pytest.importorskip('mmdet')

from mmdet.registry import DATASETS, METRICS, TRANSFORMS
from mmengine.config import Config
from PIL import Image

from mmvision_mamba.errors import DataError
from mmvision_mamba.preflight.check_data import check_datasets
from mmvision_mamba.preflight.read import read_config
from mmvision_mamba.preflight.report import check_config

from ..helpers.panoptic_data import CLASSES, annotation_file, change_panoptic, make_panoptic, small_config


@pytest.fixture
def root(tmp_path):
    return make_panoptic(tmp_path / 'coco', train=3, val=3)


@pytest.fixture
def cfg(root, tmp_path):
    (tmp_path / 'config.py').write_text(small_config(root))
    return Config.fromfile(tmp_path / 'config.py')


def problems(cfg, split='train'):
    report, = check_config(cfg, [split])
    return {(p.kind, p.where.rpartition('/')[2]): p.detail for p in report.problems}


def segments(content):
    return [segment for record in content['annotations'] for segment in record['segments_info']]


def message(cfg, lines=2):
    with pytest.raises(DataError) as error:
        check_datasets(cfg, ('train', 'val'))
    assert len(str(error.value).splitlines()) == lines
    return str(error.value)


def test_sound_files(cfg):
    for data in check_datasets(cfg):
        assert not data.notes and not data.warnings
        assert (data.usage.used_images, data.usage.objects, data.usage.lost) == (3, 14, {'crowds': 1})
        assert data.usage.classes == {'cat': 4, 'dog': 3, 'road': 3, 'sky-other': 3}
    train, val = check_config(cfg, ['train', 'val'])
    for report in (train, val):
        assert not report.problems and report.contents.images == 3 and report.contents.crowds == 1
        assert report.contents.classes == {'cat': 4, 'dog': 4, 'road': 3, 'sky-other': 3}


def test_what_is_mended(cfg, root):
    def change(content):
        for image, record in zip(content['images'], content['annotations'], strict=True):
            record['image_id'] = str(image['id'])
            record['file_name'] = f'.\\{record["file_name"]}'
        for segment in segments(content):
            del segment['iscrowd'], segment['area']
            segment.update(id=str(segment['id']), category_id=float(segment['category_id']))
    change_panoptic(root, change, 'train')
    train, val = check_datasets(cfg, ('train', 'val'))
    assert len(train.notes) == 5 and not val.notes
    assert train.usage.used_objects == 14 and not problems(cfg)


def test_each_problem(cfg, root):
    folder = root / 'annotations/panoptic_train2017'

    def change(content):
        first, second, third = content['annotations']
        ids = [segment['id'] for segment in first['segments_info']]
        first['segments_info'][1]['id'] = ids[0]
        first['segments_info'][2]['category_id'] = 99
        del first['segments_info'][3]['bbox']
        second['segments_info'][0]['id'] = 256 ** 3
        content['annotations'].append(dict(second, file_name='other.png'))
        del third['segments_info']
        del content['categories'][3]['isthing']
    change_panoptic(root, change, 'train')
    with Image.open(folder / '000000001001.png') as image:
        image.resize((53, 99)).save(folder / '000000001001.png')
    found = problems(cfg)
    assert {kind for kind, _ in found} == {
        'isthing', 'panoptic record', 'segment record', 'duplicate segment id', 'unknown category', 'no segments',
        'panoptic PNG'}
    assert found['segment record', 'segments_info[3] (000000001000.png)'] == 'no bbox'
    assert found['panoptic record', 'annotations[2]'] == 'no segments_info'
    assert found['panoptic record', 'annotations[3]'] == 'image 1001 a second time'
    assert 'ids in no segments_info' in found['panoptic PNG', '000000001000.png']
    assert found['panoptic PNG', '000000001001.png'] == 'the panoptic PNG is 53 × 99 pixels, its image 53 × 101'
    assert 'isthing' in message(cfg)


def test_ids_of_png_and_file(cfg, root):
    folder = root / 'annotations/panoptic_train2017'
    change_panoptic(root, lambda content: content['annotations'][0]['segments_info'].pop(), 'train')
    pixels = np.array(Image.open(folder / '000000001001.png'))
    pixels[pixels[..., 0] == pixels[0, 20, 0]] = 0
    Image.fromarray(pixels).save(folder / '000000001001.png')
    (folder / '000000001002.png').unlink()
    found = problems(cfg)
    assert found['panoptic PNG', '000000001000.png'].startswith('1 ids in no segments_info: ')
    assert ' without a pixel: ' in found['panoptic PNG', '000000001001.png']
    assert found['panoptic PNG', '000000001002.png'].startswith('the panoptic PNG is missing')
    assert len(found) == 3
    text = message(cfg)
    assert '1 of 3 panoptic PNGs are missing' in text and '000000001002.png' in text


@pytest.mark.parametrize(('place', 'wanted', 'given', 'advice'), [
    ('dataset', 'panoptic', 'instances', 'no panoptic annotation file'),
    ('dataset', 'instances', 'panoptic', 'a panoptic annotation file'),
    ('metric', 'panoptic', 'instances', 'no panoptic annotation file'),
    ('metric', 'instances', 'panoptic', 'a panoptic annotation file')])
def test_the_other_kind_of_file(place, wanted, given, advice, cfg, root):
    path = f'{root}/annotations/{given}_{"train" if place == "dataset" else "val"}2017.json'
    if place == 'dataset':
        dataset = cfg.train_dataloader.dataset
        dataset.ann_file = path
        if wanted == 'instances':
            dataset.type = 'CocoDataset'
            dataset.pipeline[1].type = 'LoadAnnotations'
    else:
        cfg.val_evaluator = dict(type='CocoPanopticMetric' if wanted == 'panoptic' else 'CocoMetric', ann_file=path)
        if wanted == 'instances':
            cfg.val_dataloader.dataset.ann_file = 'annotations/panoptic_train2017.json'
            cfg.val_dataloader.dataset.data_prefix = cfg.train_dataloader.dataset.data_prefix
    text = message(cfg)
    assert text.startswith(f'{path}: {advice}') and 'Way out: ' in text
    if place == 'dataset':
        assert any(advice in detail for detail in problems(cfg).values())


@pytest.mark.parametrize('classes', [
    dict(classes=CLASSES),  # COCO's things and stuff with them
    dict(classes=('road', 'cat', 'dog', 'sky-other'), thing_classes=CLASSES[:2], stuff_classes=CLASSES[2:]),
    dict(classes=CLASSES, thing_classes=CLASSES[:1], stuff_classes=CLASSES[1:]),
    dict(classes=('a', 'b'), thing_classes=('a',), stuff_classes=('b',))])
def test_things_and_stuff(classes, cfg, root):
    cfg.train_dataloader.dataset.metainfo = classes
    text = message(cfg)
    assert str(annotation_file(root, 'train')) in text
    assert "thing_classes=('cat', 'dog'), stuff_classes=('road', 'sky-other')" in text


def test_classes_in_another_order_in_the_file(cfg, root):
    change_panoptic(root, lambda content: content['categories'].reverse())
    change_panoptic(root, lambda content: content['categories'].pop(0), 'train')  # one that training lacks
    assert [data.usage.used_images for data in check_datasets(cfg, ('train', 'val'))] == [3, 3]


def test_files_that_are_no_panoptic_files(cfg, root):
    path = annotation_file(root, 'train')
    for content in ('[]', '{}', json.dumps(dict(images=[], categories=[])), '{"images": 3, "categories": []}'):
        path.write_text(content)
        assert str(path) in message(cfg, lines=1)


def test_a_missing_folder_of_pngs(cfg, root):
    (root / 'annotations/panoptic_val2017').rename(root / 'elsewhere')
    text = message(cfg, lines=9)
    assert f'missing  {root}/annotations/panoptic_val2017' in text and 'panoptic_val2017.zip' in text


@pytest.mark.parametrize('lazily', [True, False])
def test_configs_that_name_mmdets_own_classes(lazily, tmp_path):
    """By import, as mmdet's new configs, or by the dotted paths that they are written with."""
    paths = dict(CocoPanopticDataset='mmdet.datasets.coco_panoptic',
                 LoadPanopticAnnotations='mmdet.datasets.transforms.loading',
                 CocoPanopticMetric='mmdet.evaluation.metrics.coco_panoptic_metric')
    imports = ''.join(f'from {path} import {name}\n' for name, path in paths.items()) if lazily else ''
    dataset, loading, metric = paths if lazily else (f"'{path}.{name}'" for name, path in paths.items())
    (tmp_path / 'config.py').write_text(imports + f"""
default_scope = 'mmdet'
model = dict(type='MaskFormer')
test_dataloader = dict(dataset=dict(type={dataset}, ann_file='a.json', pipeline=[dict(type={loading})]))
test_evaluator = [dict(type={metric}, ann_file='a.json')]
""")
    cfg = read_config(tmp_path / 'config.py')
    dataset = cfg.test_dataloader.dataset
    for registry, item in ((DATASETS, dataset), (TRANSFORMS, dataset.pipeline[0]), (METRICS, cfg.test_evaluator[0])):
        assert registry.get(item.type).__module__.startswith('mmvision_mamba.'), item
