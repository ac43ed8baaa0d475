"""`mmvision-mamba tune`: real trainings, whose configs and weights differ; what ends with it; what wrong input gets."""
import os
import shlex
import signal
import subprocess
import sys
import time

import pytest
import torch
from mmengine.config import Config

from ..helpers import ROOT
from ..helpers.custom_folders import image_mask
from ..helpers.small_configs import OF_A_FOLDER

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


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of images and masks without a validation split, which a small segmentor is to learn."""
    from mmvision_mamba.preflight import training_defaults
    (tmp_path / 'small.py').write_text(OF_A_FOLDER.format(root=ROOT))
    monkeypatch.setitem(training_defaults.CONFIGS, 'maps', str(tmp_path / 'small.py'))
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    return image_mask(tmp_path / 'photos', {'images': 'masks'}, count=4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_folder_is_tuned_as_it_is_trained(tool, photos, tmp_path):
    pytest.importorskip('mmseg')
    options = ('--cfg-options', 'custom_data.size=64', 'train_cfg.max_iters=2', 'train_dataloader.num_workers=0',
               'train_dataloader.persistent_workers=False', 'val_dataloader.num_workers=0',
               'val_dataloader.persistent_workers=False', 'train_dataloader.batch_size=2')
    result = tool('tune', photos, '--trials', 1, '--params', 'lr', *options)
    assert result.code == 0, result.err
    study = tmp_path / 'work_dirs/photos_tune'
    account, _, rest = result.out.partition('\nThis tunes as\n')
    assert '1 images, chosen at random, are set aside' in account and '1 trials: 1 done' in rest
    split = (study / 'splits/val.txt').read_bytes()
    best = Config.fromfile(study / 'best.py')
    assert best.data_root == str(photos) and best.train_cfg.max_iters == 2
    command = shlex.split(rest.splitlines()[0])
    assert command[:3] == ['mmvision-mamba', 'tune', str(tmp_path / 'small.py')] and '--trials' in command
    again = tool('tune', *command[2:])
    assert again.code == 0 and 'has 1 trials; it goes on' in again.out, again.err
    again = tool('tune', photos, '--trials', 1, '--params', 'lr', *options)
    assert again.code == 0 and 'is kept' in again.out and 'has 1 trials; it goes on' in again.out, again.err
    assert (study / 'splits/val.txt').read_bytes() == split


def test_a_dry_run_on_a_folder_writes_nothing(tool, photos, tmp_path):
    pytest.importorskip('mmseg')
    before = sorted(tmp_path.rglob('*'))
    result = tool('tune', photos, '--dry-run', '--work-dir', 'wd')
    assert result.code == 0, result.err
    assert 'are set aside to validate with (wd/splits)' in result.out and f'{tmp_path}/wd/splits/val.txt' in result.out
    assert '  batch: one of ' in result.out and '--dry-run' not in result.out and sorted(tmp_path.rglob('*')) == before


def test_on_a_gpu_the_batch_is_varied_or_as_large_as_fits(tool, photos, monkeypatch):
    pytest.importorskip('mmseg')
    from mmvision_mamba.commands.steps import folder
    monkeypatch.setattr(folder, 'get_device', lambda: 'cuda')
    result = tool('tune', photos, '--dry-run')
    assert result.code == 0 and '--train-options --auto-batch 4' in result.out and '  batch: ' not in result.out
    result = tool('tune', photos, '--dry-run', '--params', 'lr', 'batch')
    assert result.code == 0 and '--auto-batch' not in result.out and '  batch: one of ' in result.out
    result = tool('tune', photos, '--dry-run', '--params', 'lr', 'batch', '--train-options', '--auto-batch')
    assert result.code == 2 and 'batch is to be varied, and the option --auto-batch' in result.err


def test_a_task_is_for_folders(tool, tiny):
    result = tool('tune', tiny, '--task', 'detect')
    assert result.code == 2 and '--task is for folders of data' in result.err


@pytest.mark.parametrize(('options', 'message'), [
    (['--trials', '0'], '--trials: a number above 0'), (['--workers', '-1'], '--workers: a number above 0'),
    (['--seed', '-1'], '--seed'), (['--ray-address', 'auto'], 'needs --engine ray'),
    (['--params', 'momentum'], 'the search space has no'), (['--train-options', '--resume'], 'each trial has its own'),
    (['--train-options', '--vis', 'none'], 'reads the curves'),
    (['--train-options', '--monitor', 'val/loss'], 'give it to tune itself, as --metric'),
    (['--length', '0'], '--length: a number above 0')])
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
