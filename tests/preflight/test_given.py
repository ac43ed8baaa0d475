"""What a user sets in a config of one's own data, or on the command line, wins over what the search finds."""
import json

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine.registry import DATASETS

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.preflight.check_model import check_model
from mmvision_mamba.preflight.datasets import value_at
from mmvision_mamba.preflight.read import read_config

from ..helpers.custom_folders import coco, image_mask

DETECTOR, SEGMENTOR = 'faster_rcnn_mambavision_t_custom', 'upernet_mambavision_t_custom'
# A config that only sets custom_data over a stock one inherits COCO's paths, which are no wish of its user's.
OVER_STOCK = "_base_ = 'mmvision_mamba::faster_rcnn_mambavision_t_coco.py'\ndata_root = '{root}'\n" \
    "custom_data = dict(format='coco')\n"
OVER_CUSTOM = f"_base_ = 'mmvision_mamba::{DETECTOR}.py'\ndata_root = '{{root}}'\n"


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    splits = {f'{split}/a.json': split for split in ('train', 'val', 'test')}
    root = coco(tmp_path_factory.mktemp('data') / 'mine', splits)
    (root / 'second.json').write_text((root / 'test/a.json').read_text())
    return root


SET = {
    'test_dataloader.dataset.ann_file': 'val/a.json', 'test_evaluator.ann_file': 'somewhere.json',
    'test_dataloader.dataset.data_prefix.img': 'val', 'train_dataloader.dataset.data_prefix.img': 'elsewhere',
    'val_dataloader.dataset.ann_file': 'second.json', 'train_dataloader.dataset.ann_file': 'second.json',
    'val_evaluator.ann_file': 'somewhere.json', 'model.roi_head.bbox_head.num_classes': 7,
    'test_dataloader.dataset.data_root': '/elsewhere', 'val_dataloader.dataset.metainfo.classes': ('dog', 'cat'),
    'test_dataloader.dataset.metainfo.classes': ('dog',)}


@pytest.mark.parametrize('key', SET)
@pytest.mark.parametrize('how', ['option', 'file', 'file over a stock one'])
def test_every_key_that_is_set_stays(key, how, root, tmp_path):
    text = (OVER_STOCK if 'stock' in how else OVER_CUSTOM).format(root=root)
    if how != 'option':
        first, *others = key.split('.')
        value = repr(SET[key])
        for part in reversed(others):
            value = f'dict({part}={value})'
        text += f'{first} = {value}\n'
    (tmp_path / 'mine.py').write_text(text)
    cfg = read_config(tmp_path / 'mine.py', {key: SET[key]} if how == 'option' else None)
    found = value_at(cfg, key)
    assert (tuple(found) if isinstance(found, list) else found) == SET[key]
    others = {'train': 'train/a.json', 'val': 'val/a.json', 'test': 'test/a.json'}
    for split, file in others.items():  # and the search finds the rest
        if key != f'{split}_dataloader.dataset.ann_file':
            assert cfg[f'{split}_dataloader'].dataset.ann_file == file
            if key not in (f'{split}_dataloader.dataset.data_prefix.img', f'{split}_dataloader.dataset.data_root'):
                assert cfg[f'{split}_dataloader'].dataset.data_prefix.img == split
        if split != 'train' and not key.startswith(split):
            assert cfg[f'{split}_evaluator'].ann_file == str(root / file)


def test_classes_set_for_training_are_the_classes(root):
    cfg = read_config(DETECTOR, {'data_root': str(root), 'train_dataloader.dataset.metainfo.classes': ('dog',)})
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert tuple(loader.dataset.metainfo.classes) == ('dog',)
    assert cfg.model.roi_head.bbox_head.num_classes == 1


def test_a_number_of_classes_that_is_set_and_does_not_fit_is_refused(root):
    cfg = read_config(DETECTOR, {'data_root': str(root), 'model.roi_head.bbox_head.num_classes': 7})
    with pytest.raises(ConfigError, match=r'num_classes is 7, but train_dataloader\.dataset has 2 classes'):
        check_model(cfg, ('train',))


def test_names_set_for_masks(tmp_path):
    root = image_mask(tmp_path, {'images/train': 'masks/train', 'images/val': 'masks/val', 'images/test': 'masks/test'})
    names = ('sky', 'road', 'car')
    cfg = read_config(SEGMENTOR, {'data_root': str(root), 'train_dataloader.dataset.metainfo.classes': names,
                                  'test_dataloader.dataset.data_prefix.img_path': 'images/val',
                                  'test_dataloader.dataset.data_prefix.seg_map_path': 'masks/val'})
    assert tuple(cfg.val_dataloader.dataset.metainfo.classes) == names
    assert dict(cfg.test_dataloader.dataset.data_prefix) == dict(img_path='images/val', seg_map_path='masks/val')
    assert cfg.val_dataloader.dataset.data_prefix.img_path == 'images/val'


def test_a_data_set_of_another_type_stays(tmp_path):
    """It gets of what is found what it has arguments for."""
    root = image_mask(tmp_path / 'data', {'images/train': 'masks/train', 'images/val': 'masks/val'})
    (tmp_path / 'mine.py').write_text(f"""
_base_ = 'mmvision_mamba::{SEGMENTOR}.py'
data_root = '{root}'
test_dataloader = dict(dataset=dict(_delete_=True, type='RepeatDataset', times=2, dataset=dict(
    type='BaseSegDataset', img_suffix='.jpeg', data_prefix=dict(img_path='images/train'), pipeline=[])))
""")
    dataset = read_config(tmp_path / 'mine.py').test_dataloader.dataset.dataset
    assert dict(dataset.data_prefix) == dict(img_path='images/train', seg_map_path='masks/val')
    assert dataset.data_root == str(root) and len(dataset.metainfo.classes) == 3
    assert len(DATASETS.build(dict(dataset, _scope_='mmseg'))) == 2


@pytest.mark.parametrize(('value', 'classes'), [('pencil', ('pencil',)), ('Stop sign', ('Stop sign',))])
@pytest.mark.parametrize('config', [DETECTOR, 'faster_rcnn_mambavision_t_coco', SEGMENTOR])
def test_classes_without_a_comma_are_one_class(config, value, classes, capsys):
    cfg = read_config(config, {'train_dataloader.dataset.metainfo.classes': value}, find_data=False)
    assert cfg.train_dataloader.dataset.metainfo.classes == classes
    assert f'the text {value!r}: taken for one class' in capsys.readouterr().out


def test_classes_in_a_file(tmp_path):
    path = tmp_path / 'classes.txt'
    path.write_bytes(b'\xef\xbb\xbfcat\r\ndog\r\n\r\n')
    option = 'train_dataloader.dataset.metainfo.classes'
    cfg = read_config('faster_rcnn_mambavision_t_coco', {option: str(path)})
    assert cfg.train_dataloader.dataset.metainfo.classes == ('cat', 'dog')
    path.write_text('cat\n\ndog\n')  # mmengine would have three classes
    with pytest.raises(DataError, match=r'classes\.txt, line 2: a blank line before a name'):
        read_config('faster_rcnn_mambavision_t_coco', {option: str(path)})
    with pytest.raises(ConfigError, match=r"classes is '.*none.txt': no such file"):
        read_config('faster_rcnn_mambavision_t_coco', {option: str(tmp_path / 'none.txt')})


def test_a_printed_config_finds_its_data_too(root, tmp_path):
    """`mmvision-mamba config` writes one file without bases: what it holds is not all its user's wish."""
    cfg = read_config(DETECTOR, find_data=False)
    (tmp_path / 'printed.py').write_text(cfg.pretty_text)
    cfg = read_config(tmp_path / 'printed.py', dict(data_root=str(root)))
    assert cfg.train_dataloader.dataset.ann_file == 'train/a.json'
    assert cfg.test_dataloader.dataset.data_prefix.img == 'test'
    assert json.loads((root / cfg.val_dataloader.dataset.ann_file).read_text())['images']
