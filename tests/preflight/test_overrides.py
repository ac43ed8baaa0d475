"""Overrides that would do nothing are refused, with the key that is read."""
import pytest

pytest.importorskip('mmdet')

from mmengine.config import Config

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.preflight.overrides import check_overrides
from mmvision_mamba.preflight.read import read_config

TEXT = '''
_base_ = 'mmvision_mamba::faster_rcnn_mambavision_t_coco.py'
load = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True),
        dict(type='Resize', scale=(640, 480), keep_ratio=True)]
lr = 0.1
num_classes = 3
kind = 'CocoDataset'
train_dataloader = dict(batch_size=3, dataset=dict(pipeline=[*load, dict(type='PackDetInputs')]))
optim_wrapper = dict(optimizer=dict(lr=lr))
'''


@pytest.fixture
def path(tmp_path):
    (tmp_path / 'mine.py').write_text(TEXT)
    return tmp_path / 'mine.py'


@pytest.mark.parametrize(('key', 'read'), [
    ('load.2.scale', 'train_dataloader.dataset.pipeline.2.scale'), ('lr', 'optim_wrapper.optimizer.lr'),
    ('num_classes', 'model.roi_head.bbox_head.num_classes'), ('kind', 'train_dataloader.dataset.type'),
    ('batch_size', 'train_dataloader.batch_size'), ('samples_per_gpu', 'train_dataloader.batch_size'),
    ('data.workers_per_gpu', 'train_dataloader.num_workers'), ('optimizer.lr', 'optim_wrapper.optimizer.lr'),
    ('total_epochs', 'train_cfg.max_epochs'), ('classes', 'train_dataloader.dataset.metainfo.classes'),
    ('train_pipeline.2.scale', 'train_dataloader.dataset.pipeline.2.scale'),
    ('test_pipeline.1.scale', 'test_dataloader.dataset.pipeline.1.scale'),
    ('modle.backbone.arch', "no key 'modle' (did you mean 'model'?)"),
    ('nonsense', 'Keys that are read begin with model')])
def test_what_nothing_reads_is_refused_with_the_key_that_is_read(key, read, path):
    with pytest.raises(ConfigError, match=f'the override of {key} would do nothing') as error:
        read_config(path, {key: 5}, find_data=False)
    assert read in str(error.value)


@pytest.mark.parametrize('key', ['train_dataloader.batch_size', 'optim_wrapper.optimizer.lr', 'load_from', 'work_dir',
                                 'randomness.seed', 'compile', 'custom_data.format', 'experiment_name'])
def test_what_a_run_reads_passes(key, path):
    check_overrides(Config.fromfile(path), {key: 5})


@pytest.mark.parametrize('options', [
    {'a: b\nerror: c': 5}, {'model.backbone.\x1b[31m': 5}, {'model.type': 'a\nb\nc'}, {'load_from': 'a\u2028b'},
    {'train_dataloader.dataset.metainfo.classes': ['a', 'b\nc']}, {'train_cfg': dict(a=['\r'])}])
def test_keys_and_values_of_several_lines_are_refused_on_one(options, path):
    with pytest.raises(ConfigError, match='keys and values are one line') as error:
        read_config(path, options, find_data=False)
    assert len(str(error.value).splitlines()) == 2
    assert str(error.value).replace('\n', '', 1).isprintable()


def test_the_variables_of_a_file_are_no_overrides(path):
    cfg = read_config(path, {'train_dataloader.dataset.pipeline.2.scale': (320, 240)}, find_data=False)
    assert cfg.train_dataloader.dataset.pipeline[2].scale == (320, 240) and cfg.load[2].scale == (640, 480)


def test_a_data_root_that_nothing_uses_is_refused(tmp_path):
    (tmp_path / 'mine.py').write_text(TEXT + "data_root = 'unused'\n")
    with pytest.raises(ConfigError, match=r"no data set lies under 'unused'.*train_dataloader\.dataset\.data_root"):
        read_config(tmp_path / 'mine.py', dict(data_root='/elsewhere'), find_data=False)
