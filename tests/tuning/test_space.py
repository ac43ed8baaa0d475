"""What a study varies: the default space is what the config has, entries of one's own are checked, values are set."""
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.tuning.space import apply, space_of


def config(**options) -> Config:
    pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(640, 320), keep_ratio=True)]
    data = dict(dataset=dict(type='CocoDataset', pipeline=pipeline), batch_size=4)
    cfg = dict(
        model=dict(type='FasterRCNN', backbone=dict(type='MambaVision', arch='tiny')),
        train_dataloader=data, val_dataloader=dict(data, batch_size=1),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05)),
        param_scheduler=[dict(type='LinearLR', start_factor=0.1, begin=0, end=5, by_epoch=False),
                         dict(type='CosineAnnealingLR', eta_min=1e-5, T_max=10),
                         dict(type='CosineAnnealingMomentum', eta_min=0.5, T_max=10)],
        default_scope='mmdet')
    init_default_scope('mmdet')
    return Config({**cfg, **options})


def names(cfg) -> list[str]:
    return [parameter.name for parameter in space_of(cfg)]


def test_the_default_space_is_what_the_config_has():
    assert names(config()) == ['lr', 'weight_decay', 'drop_path', 'scale', 'batch']
    layers = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.),
                  constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(decay_rate=0.9))
    assert names(config(optim_wrapper=layers)) == ['lr', 'layer_decay', 'drop_path', 'scale', 'batch']
    other = dict(type='FasterRCNN', backbone=dict(type='ResNet', depth=50))
    assert 'drop_path' not in names(config(model=other))
    cfg = config()
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.pipeline = []
    assert 'scale' not in names(cfg)


def test_the_configs_own_values_are_inside():
    space = {parameter.name: parameter for parameter in space_of(config())}
    assert space['lr'].baseline() == 1e-3 and space['lr'].low == pytest.approx(1e-4)
    assert space['drop_path'].baseline() == 0.2, "the variant's"
    assert space['scale'].baseline() == 1. and space['batch'].baseline() == 4
    assert space['batch'].choices == (2, 4, 8)


def test_values_are_set_and_the_config_stays():
    cfg = config()
    before = cfg.to_dict()
    found = apply(cfg, space_of(cfg), dict(lr=4e-3, weight_decay=0.1, drop_path=0.3, scale=0.75, batch=8))
    assert cfg.to_dict() == before
    assert found.optim_wrapper.optimizer == dict(type='AdamW', lr=4e-3, weight_decay=0.1)
    assert found.model.backbone.drop_path_rate == 0.3 and found.train_dataloader.batch_size == 8
    assert [found[f'{split}_dataloader'].dataset.pipeline[1].scale for split in ('train', 'val')] == [(480, 256)] * 2
    assert found.param_scheduler[1].eta_min == pytest.approx(4e-5), 'the lowest rate follows'
    assert found.param_scheduler[2].eta_min == 0.5, 'that of the momentum does not'


def test_the_configs_own_values_change_nothing():
    cfg = config()
    space = space_of(cfg)
    assert apply(cfg, space, {parameter.name: parameter.now for parameter in space}).optim_wrapper == cfg.optim_wrapper
    found = apply(cfg, space, {parameter.name: parameter.now for parameter in space})
    assert (found.param_scheduler, found.train_dataloader) == (cfg.param_scheduler, cfg.train_dataloader)


def test_a_space_of_ones_own():
    cfg = config(search_space={
        'optim_wrapper.optimizer.type': ['AdamW', 'SGD'], 'lr': dict(low=1e-4, high=1e-2, log=True),
        'model.backbone.window_size': [[14, 7], [16, 8]], 'train_dataloader.batch_size': dict(low=2, high=8, step=2),
        'model.neck.start_level': [0, None]})
    space = space_of(cfg)
    values = {'optim_wrapper.optimizer.type': 'SGD', 'lr': 2e-3, 'model.backbone.window_size': [16, 8],
              'train_dataloader.batch_size': 6, 'model.neck.start_level': None}
    found = apply(cfg, space, values)
    assert found.optim_wrapper.optimizer.type == 'SGD' and found.model.backbone.window_size == [16, 8]
    assert found.train_dataloader.batch_size == 6 and found.model.neck == dict(start_level=None)
    assert 'search_space' not in found and 'search_space' in cfg
    assert [parameter.name for parameter in space_of(cfg, ['lr'])] == ['lr']


@pytest.mark.parametrize(('space', 'message'), [
    (5, 'search_space is 5: expected a dict'), ({}, 'expected a dict'),
    ({'lr': 1e-3}, r"search_space\['lr'\] is 0.001: expected a list of values"),
    ({'lr': [1e-3]}, 'two or more values'), ({'lr': [1e-3, 1e-3]}, 'each once'), ({'lr': [0.1, -1]}, 'above 0'),
    ({'lr': dict(low=1, high=1)}, 'low below high'), ({'lr': dict(low=1e-3)}, 'low below high'),
    ({'lr': dict(low=0., high=1., log=True)}, 'begins above 0'),
    ({'lr': dict(low=float('nan'), high=1.)}, 'expected numbers'), ({'lr': dict(lo=1, high=2)}, 'has no key.*low'),
    ({'batch': dict(low=2, high=4, step=9)}, 'step is 9'), ({'batch': dict(low=True, high=4)}, 'expected numbers'),
    ({'layer_decay': [0.8, 0.9]}, 'nothing of that kind.*decay_rate'),
    ({'optim_wraper.optimizer.lr': [1, 2]}, 'would do nothing'), ({'learning_rate': [1, 2]}, 'no key of the config'),
    ({'train_dataloader.batch_size': ['a', 'b']}, 'expected'), ({'model.neck': [object(), 1]}, 'numbers, texts'),
    ({'optim_wrapper.optimizer.lr.x': [1, 2]}, 'can be set|can not')])
def test_a_wrong_space_is_one_line(space, message):
    with pytest.raises(ConfigError, match=message) as error:
        space_of(config(search_space=space))
    assert len(str(error.value).splitlines()) <= 2


def test_names_that_the_space_lacks_are_named():
    with pytest.raises(ConfigError, match=r"--params: the search space has no 'learning_rate'|no 'lrr'"):
        space_of(config(), ['lrr'])
