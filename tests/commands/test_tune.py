"""`mmvision-mamba tune`: real trainings, whose configs and weights differ; what ends with it; what wrong input gets."""
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from mmengine.config import Config

from ..helpers import ROOT

pytest.importorskip('optuna')

TINY = '''# A tiny model.
custom_imports = dict(imports=['tests.helpers.tiny_training'], allow_failed_imports=False)
model = dict(type='TinyModel')
train_dataloader = dict(batch_size=4, dataset=dict(type='NoisyPoints'), num_workers=0,
                        sampler=dict(type='InfiniteSampler', shuffle=True))
val_dataloader = dict(batch_size=4, dataset=dict(type='NoisyPoints', augment=False, length=9), num_workers=0,
                      sampler=dict(type='DefaultSampler', shuffle=False))
train_cfg = dict(type='IterBasedTrainLoop', max_iters={length}, val_interval=4)
val_cfg = dict()
val_evaluator = dict(type='ToyAccuracy')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01, weight_decay=0.05))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, begin=0, end={length}, eta_min=1e-4)]
default_hooks = dict(logger=dict(type='LoggerHook', interval=1),
                     checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=4))
default_scope = 'mmengine'
log_level = 'WARNING'
log_processor = dict(by_epoch=False)
'''


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The config of a training of milliseconds an iteration."""
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    path = tmp_path / 'tiny.py'
    path.write_text(TINY.format(length=8))
    return path


def settings(cfg):
    return cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.optimizer.weight_decay, cfg.train_dataloader.batch_size


def test_trials_differ_in_config_and_weights_and_the_best_is_trained_as_it_is(tool, tiny, tmp_path):
    result = tool('tune', tiny, '--trials', 3, '--work-dir', 'wd', '--keep-checkpoints', '--workers', 2, '--seed', 1)
    assert result.code == 0, result.err
    folders = sorted((tmp_path / 'wd').glob('trial_*'))
    assert [folder.name for folder in folders] == ['trial_0000', 'trial_0001', 'trial_0002']
    configs = [Config.fromfile(folder / 'tiny.py') for folder in folders]
    assert settings(configs[0]) == (0.01, 0.05, 4), 'the config itself'
    assert len(set(map(settings, configs))) == 3
    weights = [torch.load(next(folder.glob('best_*.pth')), weights_only=False)['state_dict'] for folder in folders]
    assert all(not torch.equal(weights[i]['net.0.weight'], weights[j]['net.0.weight'])
               for i, j in ((0, 1), (0, 2), (1, 2)))
    best = Config.fromfile(tmp_path / 'wd/best.py')
    assert settings(best) in map(settings, configs) and 'The best of 3 trials is number' in result.out
    assert best.default_hooks.checkpoint.interval == 4 and best.default_hooks.checkpoint.type == 'CheckpointHook'
    result = tool('train', 'wd/best.py', '--work-dir', 'final', '--vis', 'none')
    assert result.code == 0 and (tmp_path / 'final/iter_8.pth').is_file(), result.err


@pytest.mark.skipif(sys.platform != 'linux', reason='looks into /proc')
def test_a_training_ends_with_the_command_even_by_sigkill_and_the_study_goes_on(tiny, tool, tmp_path):
    tiny.write_text(TINY.format(length=100_000))
    process = subprocess.Popen([sys.executable, ROOT / 'tools/tune.py', tiny, '--trials', '1', '--work-dir', 'wd'],
                               cwd=tmp_path, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 200
        while not list((tmp_path / 'wd').glob('trial_0000/*/vis_data/scalars.json')):
            assert time.monotonic() < end and process.poll() is None
            time.sleep(0.2)
        child, = [int(pid) for pid in os.listdir('/proc') if pid.isdigit() and f'{process.pid}' == _parent(pid)]
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    end = time.monotonic() + 20
    while os.path.exists(f'/proc/{child}') and time.monotonic() < end:
        time.sleep(0.1)
    assert not os.path.exists(f'/proc/{child}')
    result = tool('tune', tiny, '--trials', '1', '--work-dir', 'wd')
    assert result.code == 0, 'the one that was killed counts'
    assert '1 trials: 1 failed' in result.out and 'None of them has a value' in result.out


def _parent(pid: str) -> str:
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[1]
    except OSError:
        return ''


@pytest.mark.slow
def test_trials_on_ray(tool, tiny, tmp_path):
    pytest.importorskip('ray')
    result = tool('tune', tiny, '--trials', 2, '--work-dir', 'wd', '--engine', 'ray', '--workers', 2)
    assert result.code == 0, result.err
    assert '2 trials: 2 done' in result.out and (tmp_path / 'wd/best.py').is_file()
    assert len(list((tmp_path / 'wd').glob('trial_*/best_*.pth'))) == 1, "the best trial's alone"


def test_a_dry_run_prints_the_space_and_the_command_and_writes_nothing(tool, tiny, tmp_path):
    result = tool('tune', tiny, '--dry-run', '--params', 'lr', 'batch', '--train-options', '--amp')
    assert result.code == 0, result.err
    assert '  lr: 0.001 to 0.1, logarithmic; the config: 0.01\n  batch: one of 2, 4, 8; the config: 4\n' in result.out
    assert 'mmvision-mamba train work_dirs/tiny_tune/trial_0000/tiny.py' in result.out and '--amp' in result.out
    assert [path.name for path in tmp_path.iterdir()] == ['tiny.py']


@pytest.mark.parametrize(('options', 'message'), [
    (['--trials', '0'], '--trials: a number above 0'), (['--workers', '-1'], '--workers: a number above 0'),
    (['--seed', '-1'], '--seed'), (['--ray-address', 'auto'], 'needs --engine ray'),
    (['--params', 'momentum'], 'the search space has no'), (['--train-options', '--resume'], 'each trial has its own'),
    (['--train-options', '--vis', 'none'], 'reads the curves'), (['--length', '0'], '--length: a number above 0')])
def test_wrong_options_are_a_line(tool, tiny, tmp_path, options, message):
    result = tool('tune', tiny, *options)
    assert result.code == 2 and len(result.errors) == 1 and message in result.errors[0], result.err
    assert [path.name for path in tmp_path.iterdir()] == ['tiny.py']


def test_without_optuna_it_names_the_extra(tool, tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, 'optuna', None)
    result = tool('tune', tiny)
    assert result.code == 2 and ("pip install 'optuna" in result.errors[0] or '[tune]' in result.errors[0])


def test_what_the_first_training_says_ends_the_study(tool, tiny, tmp_path):
    tiny.write_text(TINY.format(length=8).replace("'TinyModel'", "'TinyModle'"))
    result = tool('tune', tiny, '--work-dir', 'wd')
    assert result.code == 2 and 'TinyModle' in result.err and len(result.errors) == 1
    assert 'Traceback' not in result.err
