"""COCO files told from other JSON, and the folders of their images, in folders as label tools and disks make them."""
import json

import pytest

pytest.importorskip('mmdet')

from mmvision_mamba.datasets.split_names import split_of, words
from mmvision_mamba.errors import DataError
from mmvision_mamba.preflight.coco_folder import find_coco, image_folder
from mmvision_mamba.preflight.read import read_config

from ..helpers.custom_folders import coco

DETECTOR = 'faster_rcnn_mambavision_t_custom'
SPLITS = {'train/_annotations.coco.json': 'train', 'valid/_annotations.coco.json': 'valid'}
OTHERS = {
    'labelme': dict(version='5.0', shapes=[], imagePath='a.jpg', imageData=None),
    'VIA': {'a.jpg123': dict(filename='a.jpg', regions=[dict(shape_attributes={}, region_attributes={})])},
    'a config': dict(name='mine', classes=['cat']), 'a list': [1, 2], 'nothing': {},
    'captions': dict(images=[], annotations=[dict(image_id=1, caption='a cat')]),
    'panoptic': dict(images=[], categories=[], annotations=[dict(image_id=1, segments_info=[dict(id=1, bbox=[1])])])}


@pytest.mark.parametrize('kind', OTHERS)
def test_other_json_beside_the_annotations(kind, tmp_path):
    coco(tmp_path, SPLITS)
    for folder in ('', 'train/', 'valid/'):
        for name in ('a', 'package', 'instances'):
            (tmp_path / f'{folder}{name}.json').write_text(json.dumps(OTHERS[kind]))
    assert find_coco(str(tmp_path)) == {'train': 'train/_annotations.coco.json', 'val': 'valid/_annotations.coco.json'}


def test_the_files_of_coco_itself(tmp_path):
    coco(tmp_path, {f'annotations/{kind}_{split}2017.json': f'{split}2017' for kind in ('instances', 'stuff')
                    for split in ('train', 'val')})
    for split in ('train', 'val'):
        content = json.loads((tmp_path / f'annotations/instances_{split}2017.json').read_text())
        content['annotations'][0].update(keypoints=[1, 2, 2], num_keypoints=1)
        (tmp_path / f'annotations/person_keypoints_{split}2017.json').write_text(json.dumps(content))
        for kind in ('captions', 'panoptic'):
            (tmp_path / f'annotations/{kind}_{split}2017.json').write_text(json.dumps(OTHERS[kind]))
    content.pop('annotations')
    (tmp_path / 'annotations/image_info_test2017.json').write_text(json.dumps(content))
    assert find_coco(str(tmp_path)) == {split: f'annotations/instances_{split}2017.json' for split in ('train', 'val')}
    for path in (tmp_path / 'annotations').glob('[is]*.json'):  # keypoints are boxes, too
        path.unlink()
    assert find_coco(str(tmp_path))['val'] == 'annotations/person_keypoints_val2017.json'


def test_leftovers_and_copies_are_no_annotations(tmp_path):
    coco(tmp_path, SPLITS)
    source = tmp_path / 'train/_annotations.coco.json'
    for name in ('train/._annotations.coco.json', 'train/.ipynb_checkpoints/_annotations-checkpoint.json',
                 '__MACOSX/train/x.json', 'train/copy.json'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(source.read_text())
    (tmp_path / 'train/linked.json').symlink_to(source)
    assert find_coco(str(tmp_path))['train'] == 'train/_annotations.coco.json'


def test_a_broken_file_is_named(tmp_path):
    coco(tmp_path, SPLITS)
    path = tmp_path / 'train/_annotations.coco.json'
    path.write_text(path.read_text()[:60])
    with pytest.raises(DataError, match=r'train/_annotations\.coco\.json: the annotation file is truncated'):
        read_config(DETECTOR, dict(data_root=str(tmp_path)))


def test_linked_folders_and_annotations(tmp_path):
    disk = coco(tmp_path / 'disk', SPLITS)
    data = tmp_path / 'data'
    (tmp_path / 'annotations').mkdir()
    data.mkdir()
    (data / 'annotations').symlink_to('../annotations')
    for split, source in (('train', 'train'), ('val', 'valid')):
        (data / f'{split}2017').symlink_to(disk / source)
        (tmp_path / f'annotations/instances_{split}2017.json').symlink_to(disk / source / '_annotations.coco.json')
    (data / 'loop').symlink_to('.')
    cfg = read_config(DETECTOR, dict(data_root=str(data)))
    for split in ('train', 'val'):
        dataset = cfg[f'{split}_dataloader'].dataset
        assert dataset.ann_file == f'annotations/instances_{split}2017.json'
        assert dataset.data_prefix.img == f'{split}2017'


def test_a_test_split_is_tested_on(tmp_path, capsys):
    root = coco(tmp_path, {**SPLITS, 'test/_annotations.coco.json': 'test'})
    cfg = read_config(DETECTOR, dict(data_root=str(root)))
    assert cfg.test_dataloader.dataset.data_prefix.img == 'test'
    assert cfg.test_evaluator.ann_file == str(root / 'test/_annotations.coco.json')
    assert cfg.val_evaluator.ann_file == str(root / 'valid/_annotations.coco.json')
    path = root / 'test/_annotations.coco.json'
    path.write_text(json.dumps(dict(json.loads(path.read_text()), annotations=[])))
    cfg = read_config(DETECTOR, dict(data_root=str(root)))
    assert cfg.test_dataloader.dataset.data_prefix.img == 'valid'
    assert 'test/_annotations.coco.json has no objects to test with' in (out := capsys.readouterr().out)
    assert out.strip().endswith('no test split: testing uses val')


def test_train_and_test_without_validation(tmp_path):
    root = coco(tmp_path, {'train/a.json': 'train', 'test/a.json': 'test'})
    with pytest.raises(DataError, match=r'nothing to validate with(.|\n)*split-dataset(.|\n)*custom_data.val=test'):
        read_config(DETECTOR, dict(data_root=str(root)))
    cfg = read_config(DETECTOR, {'data_root': str(root), 'custom_data.val': 'test/a.json'})
    assert cfg.val_dataloader.dataset.ann_file == cfg.test_dataloader.dataset.ann_file == 'test/a.json'
    with pytest.raises(DataError, match=r'none.json: no such file \(custom_data.val\)'):
        read_config(DETECTOR, {'data_root': str(root), 'custom_data.val': 'none.json'})


@pytest.mark.parametrize('missing', [[0], [0, 1, 2, 3, 4], [9], [3, 4, 5, 6, 7, 8]])
def test_the_folder_that_holds_most_is_taken(missing, tmp_path):
    names = [f'{i}.jpg' for i in range(10)]
    for folder in ('decoy', 'data/images'):
        (tmp_path / folder).mkdir(parents=True)
    for i, name in enumerate(names):
        if i not in missing:
            (tmp_path / 'data/images' / name).touch()
    (tmp_path / 'decoy/0.jpg').touch()
    assert image_folder(str(tmp_path), 'ann/a.json', names, 'train') == 'data/images'


def test_images_under_another_name_are_hinted_at(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images/000.JPG').touch()
    with pytest.raises(DataError, match=r'looked for C:/Users/me/000.png.\nThere is images/000.JPG'):
        image_folder(str(tmp_path), 'a.json', ['C:\\Users\\me\\000.png'], 'train')


@pytest.mark.parametrize(('path', 'split'), [
    ('instances_train2017.json', 'train'), ('trainAnnotations.json', 'train'), ('Val/x.json', 'val'),
    ('TEST.json', 'test'), ('train/val.json', 'val'), ('constraint/a.json', None), ('dataset/trainval.json', None),
    ('x/_annotations.coco.json', None), ('minival.json', 'val')])
def test_splits_in_names(path, split):
    assert split_of(path) == split


def test_words():
    assert words('JPEGImages') == ['jpeg', 'images'] and words('leftImg8bit') == ['left', 'img', 'bit']


@pytest.mark.parametrize(('files', 'seen'), [
    ({'labels/0.txt': '0 0.5 0.5 0.25 0.25\n'}, r'these look like YOLO labels \(labels/0.txt\)(.|\n)*Put their images'),
    ({'labels/0.txt': '1 0.1 0.1 0.3 0.1 0.3 0.4\n'}, 'YOLO labels'),
    ({'cvat.xml': '<annotations><image/></annotations>'}, r'CVAT annotations \(cvat.xml\)'),
    ({'via.json': json.dumps(OTHERS['VIA'])}, 'VIA'),
    ({'panoptic.json': json.dumps(OTHERS['panoptic'])}, 'COCO panoptic annotations'),
    ({'cat/0.jpg': '', 'dog/0.jpg': ''}, 'images alone, in folders(.|\n)*a classifier'),
    ({'0.jpg': ''}, 'images without annotations'), ({}, 'no COCO annotation file')])
def test_what_is_there_instead_is_said(files, seen, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=seen) as error:
        read_config(DETECTOR, dict(data_root=str(tmp_path)))
    assert 'Expected: COCO annotation files' in str(error.value)
