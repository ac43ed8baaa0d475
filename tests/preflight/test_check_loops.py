"""Loops and loaders that would never end, do nothing, or be refused late are refused at once, by the key to set."""
import pytest
from PIL import Image

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.preflight import check_loops
from mmvision_mamba.preflight.check_loops import check_loaders, check_sizes, check_training
from mmvision_mamba.preflight.check_model import check_model
from mmvision_mamba.preflight.read import read_config


@pytest.fixture
def read(configs, shapes):
    """read(kind, **options): the config of a small model with those options."""
    def run(kind, options):
        return read_config(getattr(configs, kind), {'data_root': str(shapes), **options})
    return run


@pytest.mark.parametrize(('options', 'message'), [
    ({'train_dataloader.batch_size': 0}, r'train_dataloader.batch_size is 0: expected a number of images, 1 or more'),
    ({'val_dataloader.batch_size': None}, r'val_dataloader.batch_size is None'),
    ({'train_dataloader.batch_size': 2.5}, r'train_dataloader.batch_size is 2.5'),
    ({'val_dataloader.num_workers': -1}, r'val_dataloader: num_workers option should be non-negative'),
    ({'val_dataloader.num_workers': 1.5}, r'val_dataloader.num_workers is 1.5: expected a number of processes'),
    ({'val_dataloader.num_workers': 2**63}, r'val_dataloader.num_workers is 9223372036854775808: 256 processes are'),
    ({'train_dataloader.collate_fn': dict(type='colate')}, r"collate_fn is 'colate', which is not registered"),
    ({'train_dataloader.sampler': None}, r'train_dataloader has no sampler: set train_dataloader.sampler.type=Default'),
    ({'train_dataloader.shuffle': True}, r'train_dataloader: .*mutually exclusive.*\n.*_dataloader.sampler.shuffle'),
    ({'train_dataloader.batch_sampler': dict(type='AspectRatioBatchSampler'), 'train_dataloader.drop_last': True},
     r'train_dataloader: .*mutually exclusive.*\n.*batch_sampler.drop_last'),
    ({'train_dataloader.num_workers': 1, 'train_dataloader.prefetch_factor': -1}, r'prefetch_factor'),
    ({'train_dataloader.timeout': -3, 'train_dataloader.num_workers': 1}, r'timeout')])
def test_loaders(options, message, read):
    with pytest.raises(ConfigError, match=message) as error:
        check_loaders(read('detector', options), ('train', 'val'))
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize(('options', 'message'), [
    (dict(type='EpochBasedTrainLoop', max_epochs=2), r'InfiniteSampler, has no end.*\n.*sampler.type=DefaultSampler'),
    (dict(by_epoch=True, max_epochs=2), r'InfiniteSampler, has no end'),
    (dict(max_iters=3), r"train_cfg has no type: add type='EpochBasedTrainLoop'"),
    (dict(type='IterBasedTrainLoop', by_epoch=False, max_iters=3), r'a type and by_epoch, which say the same'),
    (dict(type='IterBasedTrainLoop', max_epochs=3), r'no max_iters, .*: max_epochs is of the other kind of loop'),
    (dict(type='IterBasedTrainLoop', max_iters=0), r'train_cfg.max_iters is 0: expected a whole number, 1 or more'),
    (dict(type='IterBasedTrainLoop', max_iters=-5), r'train_cfg.max_iters is -5'),
    (dict(type='IterBasedTrainLoop', max_iters=2.5), r'train_cfg.max_iters is 2.5: expected a whole number'),
    (dict(type='IterBasedTrainLoop', max_iters=9, val_interval=0), r'train_cfg.val_interval is 0')])
def test_loops(options, message, read):
    cfg = read('segmentor', {})
    cfg.train_cfg = options
    with pytest.raises(ConfigError, match=message) as error:
        check_training(cfg)
    assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize(('options', 'message'), [
    ({'val_cfg': None}, r'val_cfg is None .*, unlike val_dataloader and val_evaluator.\n.*all three'),
    ({'val_cfg': None, 'val_evaluator': None}, r'val_cfg and val_evaluator are None .*, unlike val_dataloader')])
def test_validation_is_there_as_a_whole_or_not_at_all(options, message, read):
    with pytest.raises(ConfigError, match=message):
        check_training(read('detector', options))


@pytest.mark.parametrize('base', [0, -8, 2.5, True, 'x'])
def test_the_batch_that_a_learning_rate_is_for(base, read):
    with pytest.raises(ConfigError, match=r'auto_scale_lr\.base_batch_size is .*: expected a whole number, 1 or more'):
        check_training(read('segmentor', {'auto_scale_lr.base_batch_size': base}))


@pytest.mark.parametrize('options', [
    {}, {'val_cfg': None, 'val_evaluator': None, 'val_dataloader': None},
    {'train_dataloader.collate_fn': dict(type='pseudo_collate')},
    {'train_cfg.val_interval': 100},  # it validates at the end
    {'train_cfg.max_iters': 1e5, 'train_cfg.val_interval': 1e3},
    {'train_dataloader.sampler.type': 'DefaultSampler'}, {'train_dataloader.num_workers': 0},
    {'train_dataloader.num_workers': 0, 'train_dataloader.persistent_workers': True, 'train_dataloader.timeout': 9}])
def test_what_works(options, read):
    for kind in ('detector', 'segmentor'):
        cfg = read(kind, options)
        check_training(cfg)
        check_loaders(cfg, ('train', 'val', 'test'))
        check_sizes(cfg, ('train', 'val'))


def test_a_validation_that_never_comes_is_said(read, monkeypatch):
    said = []
    monkeypatch.setattr(check_loops, 'warn_once', said.append)
    check_training(read('segmentor', {'train_cfg.val_begin': 9}))
    assert said and 'train_cfg.val_begin is 9, after the end of the training at 4' in said[0]


def test_test_images_of_several_sizes_are_not_stacked(read, tmp_path):
    from mmvision_mamba.datasets import make_shapes
    folders = tmp_path / 'data', tmp_path / 'wide'
    make_shapes(folders[0], train=1, val=3, seed=0, size=(64, 64))
    make_shapes(folders[1], train=1, val=3, seed=0, size=(64, 90))
    options = {'data_root': str(folders[0]), 'val_dataloader.batch_size': 2}
    check_sizes(read('segmentor', options), ('val',))
    for folder in ('val', 'semantic/val'):
        wide = sorted((folders[1] / folder).iterdir())[-1]
        wide.rename(folders[0] / folder / wide.name)
    check_sizes(read('segmentor', options | {'val_dataloader.batch_size': 1}), ('val',))
    check_sizes(read('detector', options), ('val',))  # mmdet pads them
    with pytest.raises(ConfigError, match=r'val_dataloader.batch_size is 2, but .* several sizes .*: \d+ × \d+, \d+ × '
                                          r'\d+, ….*\n.*val_dataloader.batch_size=1'):
        check_sizes(read('segmentor', options), ('val',))
    cfg = read('segmentor', options)
    cfg.val_dataloader.dataset.pipeline[1:1] = [dict(type='Resize', scale=(64, 64), keep_ratio=False)]
    check_sizes(cfg, ('val',))


def test_images_that_differ_by_their_turn_alone_are_not_stacked(read, tmp_path):
    from mmvision_mamba.datasets import make_shapes
    make_shapes(tmp_path / 'data', train=1, val=2, seed=0, size=(64, 90))
    turned = sorted((tmp_path / 'data' / 'val').iterdir())[-1]
    with Image.open(turned) as image:
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(turned, exif=exif)
    with pytest.raises(ConfigError, match='several sizes'):
        check_sizes(read('segmentor', {'data_root': str(tmp_path / 'data'), 'val_dataloader.batch_size': 2}), ('val',))


# What a model does to its images -------------------------------------------------------------------------------------

@pytest.mark.parametrize(('options', 'message'), [
    (dict(mode='slide'), r'crop_size and stride, .*; crop_size is None.\nSet, for example, model.test_cfg.crop_size='),
    (dict(mode='slide', crop_size=(64, 64)), r'stride is None'),
    (dict(mode='slide', crop_size=64, stride=(32, 32)), r'crop_size is 64'),
    (dict(mode='slide', crop_size=(64, 64), stride=(0, 32)), r'stride is \(0, 32\)'),
    (dict(mode='slide', crop_size=(64, 64), stride=(32, 80)), r'model.test_cfg.stride .* the windows would leave gaps'),
    (dict(mode='slid'), r"model.test_cfg.mode is 'slid': expected 'whole'")])
def test_modes_of_the_test(options, message, read):
    cfg = read('segmentor', {})
    cfg.model.test_cfg = options
    with pytest.raises(ConfigError, match=message) as error:
        check_model(cfg, ('val',))
    assert len(str(error.value).splitlines()) <= 2
    cfg.model.test_cfg = dict(mode='slide', crop_size=(64, 64), stride=(64, 43))
    check_model(cfg, ('val',))


@pytest.mark.parametrize(('kind', 'options', 'message'), [
    ('segmentor', {'model.backbone.arch.in_channels': 4},
     r'data_preprocessor.mean has 3 values, and model.backbone takes 4 bands \(arch.in_channels\)'),
    ('detector', {'model.backbone.arch.in_channels': 4}, r'data_preprocessor.mean has 3 values'),
    ('segmentor', {'model.data_preprocessor.std': [1., 1.]}, r'data_preprocessor.std has 2 values, .* takes 3 bands'),
    ('segmentor', {'model.data_preprocessor.std': [1., 0., 1.]}, r'std is .*: expected numbers, above 0'),
    ('segmentor', {'model.data_preprocessor.std': None}, r'data_preprocessor has mean alone'),
    ('segmentor', {'model.data_preprocessor.std': [1., float('nan'), 1.]}, r'std is .* nan, .*: expected numbers'),
    ('detector', {'model.data_preprocessor.mean': [1., float('inf'), 1.]}, r'mean is \[1.0, inf, 1.0\]: expected'),
    ('detector', {'model.data_preprocessor.pad_size_divisor': 0}, r'pad_size_divisor is 0: expected a whole number'),
    ('segmentor', {'model.data_preprocessor.size': (0, 64)}, r'size is \(0, 64\): expected \(height, width\)'),
    ('segmentor', {'model.data_preprocessor.test_cfg': dict(size_divisor=0)}, r'test_cfg\.size_divisor is 0'),
    ('detector', {'model.neck.num_outs': 10**7}, r'model\.neck\.num_outs is 10000000: expected a whole number'),
    ('detector', {'model.backbone.arch.in_channels': 4, 'model.data_preprocessor.mean': [1.] * 4,
                  'model.data_preprocessor.std': [1.] * 4}, r'normalises one or three bands, .*\nSet model')])
def test_normalisation(kind, options, message, read):
    with pytest.raises(ConfigError, match=message) as error:
        check_model(read(kind, options), ('val',))
    assert len(str(error.value).splitlines()) <= 2


def test_a_neck_that_makes_as_many_maps_as_it_gets(read):
    check_model(read('detector', {'model.neck.num_outs': None}), ('val',))


def test_four_bands_with_four_means(read):
    check_model(read('segmentor', {'model.backbone.arch.in_channels': 4, 'model.data_preprocessor.mean': [1.] * 4,
                                   'model.data_preprocessor.std': [1.] * 4}), ('val',))
    check_model(read('detector', {'model.backbone.arch.in_channels': 4, 'model.data_preprocessor.mean': None,
                                  'model.data_preprocessor.std': None}), ('val',))
