import pytest
from mmengine import Config

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.preflight.datasets import datasets_of, override_data_root

CLASSES = ('circle', 'square')


def config(root: str) -> Config:
    def loader(split):
        return {'dataset': {'type': 'CocoDataset', 'data_root': root, 'ann_file': f'annotations/{split}.json',
                            'metainfo': {'classes': CLASSES}}}

    evaluator = {'type': 'CocoMetric', 'ann_file': f'{root.rstrip("/")}/annotations/val.json'}
    return Config({'default_scope': 'mmdet', 'data_root': root, 'train_dataloader': loader('train'),
                   'val_dataloader': loader('val'), 'test_dataloader': loader('val'), 'val_evaluator': evaluator,
                   'test_evaluator': evaluator})


@pytest.mark.parametrize('old', ['data/coco', 'data/coco/'])
@pytest.mark.parametrize('new', ['/big/coco', '/big/coco/', 'data/coco/2017'])
def test_moves_everything_once(old, new):
    cfg = config(old)
    cfg.train_dataloader.dataset = {'type': 'RepeatDataset', 'times': 2, 'dataset': {
        'type': 'ConcatDataset', 'datasets': [cfg.train_dataloader.dataset, cfg.val_dataloader.dataset]}}
    cfg.paths = ('data/coco/a', ['data/coco'], 'data/cocoa', 'x/data/coco', 3, None)
    override_data_root(cfg, new)
    new = new.rstrip('/')
    inner = cfg.train_dataloader.dataset.dataset.datasets
    roots = [cfg.data_root, inner[0].data_root, inner[1].data_root, cfg.test_dataloader.dataset.data_root]
    assert [root.rstrip('/') for root in roots] == [new] * 4
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == f'{new}/annotations/val.json'
    assert inner[0].ann_file == 'annotations/train.json'
    assert cfg.paths == (f'{new}/a', [new], 'data/cocoa', 'x/data/coco', 3, None)
    assert cfg.val_dataloader.dataset.metainfo.classes == CLASSES


def test_shared_parts_of_a_file(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("data_root = 'data/coco'\n"
                    "val_dataloader = dict(dataset=dict(data_root=data_root))\n"
                    "test_dataloader = val_dataloader\n"
                    "val_evaluator = dict(ann_file=data_root + '/val.json')\n")
    cfg = Config.fromfile(path)
    override_data_root(cfg, 'data/coco/2017')
    assert cfg.val_dataloader.dataset.data_root == cfg.test_dataloader.dataset.data_root == 'data/coco/2017'
    assert cfg.val_evaluator.ann_file == 'data/coco/2017/val.json'


def test_home_is_expanded(monkeypatch):
    monkeypatch.setenv('HOME', '/home/someone')
    cfg = config('data/coco')
    override_data_root(cfg, '~/coco')
    assert cfg.data_root == '/home/someone/coco'


def test_without_a_top_level_one():
    cfg = config('data/coco/')
    cfg.pop('data_root')
    override_data_root(cfg, '/big')
    assert cfg.train_dataloader.dataset.data_root.rstrip('/') == '/big'
    assert cfg.val_evaluator.ann_file == '/big/annotations/val.json'


def test_data_sets_disagree():
    cfg = config('data/coco')
    cfg.pop('data_root')
    cfg.val_dataloader.dataset.data_root = 'data/other'
    with pytest.raises(ConfigError, match=r"train_dataloader\.dataset\.data_root='data/coco'.*'data/other'"):
        override_data_root(cfg, '/big')
    assert cfg.train_dataloader.dataset.data_root == 'data/coco'


def test_top_level_one_that_nothing_uses():
    cfg = config('data/coco')
    cfg.data_root = 'data/unused'
    with pytest.raises(ConfigError, match=r"'data/unused'.*val_dataloader\.dataset\.data_root"):
        override_data_root(cfg, '/big')


def test_none_at_all():
    with pytest.raises(ConfigError, match='has none'):
        override_data_root(Config({'train_dataloader': {'dataset': {'ann_file': 'a.json'}}}), '/big')


def test_datasets_of_wrappers():
    pytest.importorskip('mmdet')
    cfg = config('data/coco')
    cfg.train_dataloader.dataset = {'type': 'RepeatDataset', 'times': 2, 'dataset': {
        'type': 'ConcatDataset', 'datasets': [cfg.train_dataloader.dataset, {'type': 'NobodyKnows'}]}}
    (where, dataset, cls), = datasets_of(cfg, 'train')
    assert where == 'train_dataloader.dataset.dataset.datasets.0'
    assert dataset.ann_file == 'annotations/train.json' and cls.__name__ == 'CocoDataset'
    dataset['indices'] = 3  # the config's own dict, not a copy
    assert cfg.train_dataloader.dataset.dataset.datasets[0].indices == 3
    assert datasets_of(Config({'val_dataloader': None}), 'val') == []
