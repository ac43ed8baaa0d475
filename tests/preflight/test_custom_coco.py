"""COCO folders as label tools export them, through the custom configs: what works, what stops, and what is said."""
import json

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.preflight.check_data import check_datasets
from mmvision_mamba.preflight.check_model import check_model
from mmvision_mamba.preflight.datasets import build_without_pipeline
from mmvision_mamba.preflight.read import read_config
from mmvision_mamba.preflight.usage import check_usage

from ..helpers.custom_folders import coco
from ..helpers.neighbours import CONFIGS

SPLITS = ('train', 'val', 'test')


@pytest.fixture
def start(tmp_path):
    """start(change) writes a folder, of which `change(content, split)` spoils each file, and begins a run on it."""
    def run(change, names=('cat', 'dog'), ids=(1, 2), encoding='utf-8', **options):
        root = coco(tmp_path, {f'{split}/a.json': split for split in ('train', 'valid')}, names, ids, masks='polygon')
        for split in ('train', 'valid'):
            path = root / split / 'a.json'
            content = json.loads(path.read_text())
            change(content, split)
            path.write_text(json.dumps(content), encoding=encoding)
        cfg = read_config(CONFIGS / 'cascade_mask_rcnn_mambavision_t_custom.py', dict(data_root=str(root), **options))
        check_usage(cfg, check_datasets(cfg, SPLITS), SPLITS)
        check_model(cfg, SPLITS)
        return cfg
    return run


def each(key, change):
    return lambda content, split: [change(item) for item in content[key]]


def labels(cfg, split):
    built = build_without_pipeline(cfg, cfg[f'{split}_dataloader'].dataset)
    return [i['bbox_label'] for n in range(len(built)) for i in built.get_data_info(n)['instances']]


def in_another_order(content, split):
    if split == 'valid':
        content['categories'].reverse()


def without_dogs(content, split):
    if split == 'valid':
        content['categories'].pop()
        content['annotations'] = [a for a in content['annotations'] if a['category_id'] == 1]


@pytest.mark.parametrize(('change', 'said'), [
    (lambda c, s: None, ''),
    (each('annotations', lambda a: a.update(category_id=str(a['category_id']))), '8 category ids of another type'),
    (each('annotations', lambda a: (a.pop('area'), a.pop('iscrowd'))), '8 areas missing or 0'),
    (in_another_order, ''), (without_dogs, 'val: 4 of 4 images, 4 of 4 objects used (cat 4, dog 0)')])
def test_works(change, said, start, capsys):
    cfg = start(change)
    assert set(labels(cfg, 'train')) == {0, 1} and said in capsys.readouterr().out
    assert cfg.model.roi_head.mask_head.num_classes == 2
    assert labels(cfg, 'val') == ([0] * 4 if change is without_dogs else labels(cfg, 'train'))


@pytest.mark.parametrize('encoding', ['utf-8-sig', 'utf-16'])
def test_byte_order_marks(encoding, start):
    assert set(labels(start(lambda c, s: None, encoding=encoding), 'val')) == {0, 1}


@pytest.mark.parametrize('name', ['animals', 'dog'])
def test_a_root_category_is_no_class(name, start, capsys):
    def add_root(content, split):
        content['categories'] = [dict(id=0, name=name, supercategory='none'),
                                 dict(content['categories'][0], supercategory=name)]

    cfg = start(add_root, names=('dog',), ids=(1,))
    assert cfg.model.roi_head.mask_head.num_classes == 1 and set(labels(cfg, 'train')) == {0}
    out = capsys.readouterr().out
    assert '1 class (dog)' in out and f'no annotations in {name} (id 0)' in out


def corners(ann):
    x, y, w, h = ann['bbox']
    ann['bbox'] = [x, y, x + w, y + h]


@pytest.mark.parametrize(('change', 'words'), [
    (each('annotations', lambda a: a.update(iscrowd=1)), 'none of 8 objects can be used (8 crowds)'),
    (lambda c, s: c['annotations'].clear(), 'there are no objects'),
    (lambda c, s: s == 'valid' and c['annotations'].clear(), 'nothing to measure (val): there are no objects'),
    (each('annotations', lambda a: a.update(category_id=a['category_id'] - 1)), 'shifted by one'),
    (each('annotations', corners), 'x1, y1, x2, y2'),
    (each('annotations', lambda a: a.update(bbox=[v / 100 for v in a['bbox']])), 'fractions'),
    (each('categories', lambda c: c.update(name=c['id'])), 'a category has the name 1 (int)')])
def test_stops(change, words, start):
    with pytest.raises(DataError) as error:
        start(change)
    assert words in str(error.value) and len(str(error.value).splitlines()) == 2


def test_the_conversion_that_is_offered_works(start):
    true = build_without_pipeline(cfg := start(lambda c, s: None), cfg.val_dataloader.dataset).get_data_info(0)
    cfg = start(each('annotations', corners), **{'custom_data.boxes': 'xyxy'})
    found = build_without_pipeline(cfg, cfg.val_dataloader.dataset).get_data_info(0)
    for info in (true, found):
        for instance in info['instances']:
            instance['mask'] = [polygon.tolist() for polygon in instance['mask']]
    assert found == true
    assert cfg.train_dataloader.dataset.boxes == cfg.val_evaluator.boxes == 'xyxy'
    with pytest.raises(ConfigError, match=r"custom_data\.boxes is 'corners'"):
        start(lambda c, s: None, **{'custom_data.boxes': 'corners'})


def test_a_misspelt_class_is_named_with_what_it_is_near(tmp_path):
    root = coco(tmp_path, {'train/a.json': 'train', 'val/a.json': 'val'}, count=2)
    options = {'data_root': str(root), 'train_dataloader.dataset.metainfo.classes': ('cat', 'dogg')}
    with pytest.raises(DataError, match=r"no annotation file has the class dogg of metainfo.classes \(did you mean "
                                        r"'dog'\?\)\.\nTheir categories: cat, dog"):
        read_config('faster_rcnn_mambavision_t_custom', options)


def test_names_that_differ_in_case_are_named(tmp_path):
    root = coco(tmp_path, {'train/a.json': 'train', 'val/a.json': 'val'}, count=2)
    content = json.loads((root / 'val/a.json').read_text())
    for category in content['categories']:
        category['name'] = category['name'].upper()
    (root / 'val/a.json').write_text(json.dumps(content))
    cfg = read_config('faster_rcnn_mambavision_t_custom', {'data_root': str(root)})
    with pytest.raises(DataError, match=r"val/a.json: its categories differ from the config's classes in their case: "
                                        r'cat, dog; the file has CAT, DOG\.\nWay out: write the names alike'):
        check_datasets(cfg)
