"""Values of another type than what reads them takes: two lines that name the key, before anything is built."""
import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmvision_mamba.configs import find_config
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.preflight.check_loops import check_training
from mmvision_mamba.preflight.read import read_config
from mmvision_mamba.preflight.value_types import check_containers

from ..helpers import ROOT

WRONG = {
    'optim_wrapper.optimizer.lr': ['abc', (0.1, 0.2), 'fast'],
    'optim_wrapper.optimizer.betas': ['abc', 0.9, (0.9,), (0.9, 'b')],
    'optim_wrapper.optimizer.weight_decay': ['abc'],
    'optim_wrapper.optimizer': ['AdamW'],
    'param_scheduler': ['abc', 3],
    'param_scheduler.0.start_factor': ['abc'],
    'param_scheduler.0.by_epoch': ['abc'],
    'param_scheduler.0.end': ['abc'],
    'train_dataloader.batch_size': ['abc'],
    'train_dataloader.num_workers': ['abc'],
    'train_dataloader.sampler': ['abc'],
    'train_dataloader.sampler.shuffle': ['abc'],
    'train_dataloader.dataset.pipeline': ['abc'],
    'train_dataloader.dataset.pipeline.2.scale': ['abc', (0, 0), (64, 'abc'), 10**6],
    'train_cfg.max_iters': ['abc'],
    'train_cfg.val_interval': ['abc', 0.5],
    'train_cfg.val_begin': ['abc', 0],
    'train_cfg': ['abc'],
    'default_hooks.checkpoint.interval': ['abc'],
    'default_hooks.checkpoint.max_keep_ckpts': ['abc'],
    'auto_scale_lr.base_batch_size': ['abc'],
    'model.decode_head.dropout_ratio': ['abc'],
    'model.decode_head.num_classes': ['abc'],
    'model.decode_head.align_corners': ['abc'],
    'val_evaluator.iou_metrics': ['abc', ['mIoU', 'AP']],
    'log_level': ['abc', 'debug'],
    'model.data_preprocessor.mean': ['abc', (1., 2., 'x')],
    'load_from': [123],
    'default_scope': ['.', 5],
    'randomness.seed': ['abc'],
    'env_cfg.mp_cfg.mp_start_method': ['abc', 5],
    'custom_data': ['abc'],
    'train_dataloader.dataset.backend_args': ['abc', 5],
    'val_evaluator.backend_args': ['abc'],
    'train_dataloader.dataset.pipeline.6.meta_keys': ['abc'],
}
SEGMENTOR = 'upernet_mambavision_t_ade20k'


@pytest.mark.parametrize('key', WRONG)
def test_on_the_command_line(key):
    for value in WRONG[key]:
        with pytest.raises(ConfigError) as error:
            check_training(read_config(SEGMENTOR, {key: value}))
        assert str(error.value).startswith((key, key.rpartition('.')[0], 'the override of')), str(error.value)
        assert len(str(error.value).splitlines()) <= 2


@pytest.mark.parametrize(('key', 'text'), [
    ('optim_wrapper.optimizer.lr', "optim_wrapper = dict(optimizer=dict(lr='1e-4'))"),  # as YAML reads 1e-4
    ('param_scheduler.0.start_factor', "param_scheduler = [dict(type='LinearLR', start_factor='0.1', end=5)]"),
    ('default_hooks.logger.interval', "default_hooks = dict(logger=dict(interval='50'))"),
    ('model.decode_head.dropout_ratio', "model = dict(decode_head=dict(dropout_ratio='0.1'))")])
def test_in_a_file(key, text, tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = '{find_config(SEGMENTOR)}'\n{text}\n")
    with pytest.raises(ConfigError, match=rf"^{key} is '"):
        check_training(read_config(path))


def test_what_may_stand_there(tmp_path):
    """Words for numbers, a name for a dict, one number for several, and nothing for all."""
    for options in ({'model.backbone.window_size': (4, 2), 'optim_wrapper.clip_grad': None, 'val_dataloader': None,
                     'val_cfg': None, 'val_evaluator': None}, {'model.backbone.arch': 'small'},
                    {'train_dataloader.dataset.pipeline.2.scale': 64, 'train_cfg.max_iters': 1e5,
                     'val_evaluator.iou_metrics': 'mIoU'}):
        check_training(read_config(SEGMENTOR, options))


@pytest.mark.parametrize('path', sorted(path.name for path in (ROOT / 'configs').glob('*.py')))
def test_the_configs_of_the_package_pass(path):
    check_training(read_config(ROOT / 'configs' / path, find_data=False))


def test_another_optimizer_of_a_resumed_run():
    cfg = read_config(SEGMENTOR, {'optim_wrapper.optimizer.type': 'SGD'})
    check_training(cfg)  # what builds it says it
    cfg.resume = True
    with pytest.raises(ConfigError, match=r'SGD has no betas; and a run is resumed with the optimizer of its '
                                          r'checkpoint alone\.\n.*load_from=CHECKPOINT, without --resume'):
        check_training(cfg)


@pytest.mark.parametrize(('key', 'value'), [
    ('env_cfg', 5), ('env_cfg', None), ('default_hooks', None), ('default_hooks', []), ('custom_hooks', 5),
    ('custom_hooks', [5]), ('custom_hooks', [dict(a=1)]), ('visualizer', 'local'), ('val_evaluator', 5),
    ('test_evaluator', ['mIoU']), ('env_cfg', dict(mp_cfg=5)),
    ('env_cfg', dict(mp_cfg=dict(opencv_num_threads='a'))),
    ('visualizer', dict(vis_backends=5)), ('visualizer', dict(vis_backends=[dict(type='LocalVisBackend', save_dir=5)])),
    ('visualizer', dict(vis_backends=[{}])), ('env_cfg', dict(resource_limit='a')),
    ('val_evaluator', dict(type='IoUMetric', prefix=5)), ('visualizer', dict(name=[])),
    ('log_processor', dict(custom_cfg=5)), ('log_processor', dict(window_size='abc')),
    ('log_processor', dict(custom_cfg=[dict(data_src='loss', window_size=0)]))])
def test_parts_that_are_no_dicts(key, value):
    cfg = read_config(SEGMENTOR)
    cfg[key] = value
    with pytest.raises(ConfigError, match=rf'{key}[\w.]* (is|has) .*: expected (dicts|a (dict|list|number|text))'):
        check_containers(cfg)


def test_none_is_what_mmengine_takes_it_for():
    cfg = read_config(SEGMENTOR)
    cfg.visualizer = cfg.custom_hooks = None
    check_containers(cfg)
