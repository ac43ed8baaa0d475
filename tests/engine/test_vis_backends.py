"""Curves in TensorBoard, W&B and others, which may be missing, offline or broken: training goes on."""
import copy
import errno
import json
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.registry import VISBACKENDS
from mmengine.visualization import BaseVisBackend, LocalVisBackend, Visualizer

from mmvision_mamba.engine import MambaVisionRunner
from mmvision_mamba.engine.vis_backends import GuardedVisBackend, guard_vis_backends, use_vis_backends
from mmvision_mamba.errors import ConfigError


def types(cfg):
    return [backend['type'] for backend in cfg.visualizer.vis_backends]


@pytest.fixture
def cfg():
    return Config(dict(visualizer=dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])))


@pytest.mark.parametrize(('chosen', 'expected'), [
    (None, ['LocalVisBackend', 'TensorboardVisBackend']),
    ('tensorboard', ['LocalVisBackend', 'TensorboardVisBackend']),
    ('tensorboard, wandb', ['LocalVisBackend', 'TensorboardVisBackend', 'NonBlockingWandbVisBackend']),
    ('wandb,wandb', ['LocalVisBackend', 'NonBlockingWandbVisBackend']),
    ('local', ['LocalVisBackend']),
    ('none', [])])
def test_names(chosen, expected, cfg):
    use_vis_backends(cfg, chosen)
    assert types(cfg) == expected


@pytest.mark.parametrize('chosen', ['tensorbord', 'none,wandb', '', 'tensorboard,'])
def test_wrong_names(chosen, cfg):
    with pytest.raises(ConfigError, match='expected none, or some of local, tensorboard, wandb'):
        use_vis_backends(cfg, chosen)


def test_the_configs_own_backends_keep_their_settings(cfg):
    wandb = dict(type='WandbVisBackend', init_kwargs=dict(project='p'))
    cfg.visualizer.vis_backends = [wandb]
    use_vis_backends(cfg)
    assert types(cfg) == ['WandbVisBackend', 'LocalVisBackend', 'TensorboardVisBackend']
    use_vis_backends(cfg, 'wandb')
    assert cfg.visualizer.vis_backends == [dict(type='LocalVisBackend'), wandb]
    use_vis_backends(cfg, 'local')
    assert types(cfg) == ['LocalVisBackend']


def test_a_config_without_visualizer():
    cfg = Config(dict(model=dict()))
    use_vis_backends(cfg, 'tensorboard')
    assert types(cfg) == ['LocalVisBackend', 'TensorboardVisBackend']


# Training ----------------------------------------------------------------------------------------------------------

class Model(BaseModel):
    """One weight."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs, mode='tensor'):
        return dict(loss=(self.weight * inputs).mean())


class Ones(torch.utils.data.Dataset):
    def __len__(self):
        return 3

    def __getitem__(self, i):
        return dict(inputs=torch.ones(()))


@pytest.fixture
def train(tmp_path, monkeypatch):
    """train('wandb') trains three iterations with such backends; returns the losses in scalars.json and the log."""
    for key in ('WANDB_MODE', 'WANDB_API_KEY'):
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))  # no .netrc

    def run(chosen):
        cfg = Config(dict(
            work_dir=str(tmp_path / 'wd'), experiment_name=tmp_path.name, default_scope='mmengine',
            train_cfg=dict(type='IterBasedTrainLoop', max_iters=3),
            default_hooks=dict(logger=dict(type='LoggerHook', interval=1), checkpoint=dict(
                type='CheckpointHook', interval=9, save_last=False)),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)), log_processor=dict(by_epoch=False)))
        if isinstance(chosen, str):
            use_vis_backends(cfg, chosen)
        else:
            cfg.visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend'), chosen])
        runner = MambaVisionRunner(
            Model(), cfg.work_dir, train_dataloader=dict(
                dataset=Ones(), sampler=dict(type='DefaultSampler', shuffle=False),
                batch_size=1, collate_fn=dict(type='default_collate')),
            cfg=cfg, **{key: cfg[key] for key in (
                'train_cfg', 'default_hooks', 'optim_wrapper', 'log_processor', 'visualizer', 'experiment_name')})
        runner.train()
        scalars = next((tmp_path / 'wd').glob('*/vis_data/scalars.json')).read_text().splitlines()
        log = next((tmp_path / 'wd').glob('*/*.log')).read_text()
        assert [json.loads(line)['step'] for line in scalars] == [1, 2, 3]
        return log
    return run


def test_wandb_missing(train, monkeypatch):
    monkeypatch.setitem(sys.modules, 'wandb', None)  # importing it raises ImportError, as without the package
    log = train('wandb')
    assert log.count('NonBlockingWandbVisBackend failed and is switched off') == 1
    assert 'WARNING' in log and 'wandb' in log


def test_wandb_offline(train, tmp_path, monkeypatch):
    pytest.importorskip('wandb')
    monkeypatch.setenv('WANDB_MODE', 'offline')
    log = train('tensorboard,wandb')
    assert 'switched off' not in log
    assert list((tmp_path / 'wd').glob('*/vis_data/wandb/offline-run-*/*.wandb'))
    assert list((tmp_path / 'wd').glob('*/vis_data/events.out.tfevents.*'))


def test_wandb_without_a_key_asks_for_none(train, tmp_path):
    wandb = pytest.importorskip('wandb')
    wandb.teardown()
    log = train('wandb')
    assert 'no API key found' in log and 'switched off' not in log
    assert list((tmp_path / 'wd').glob('*/vis_data/wandb/offline-run-*'))


def test_wandb_that_can_not_start(train, monkeypatch):
    wandb = pytest.importorskip('wandb')

    def init(**options):
        raise wandb.errors.CommError('no route to host')
    monkeypatch.setenv('WANDB_MODE', 'online')
    monkeypatch.setattr(wandb, 'init', init)
    log = train('wandb')
    assert log.count('is switched off; the run goes on without it: CommError: no route to host') == 1


@VISBACKENDS.register_module()
class FailingVisBackend(BaseVisBackend):
    """Raises in the method `where`."""
    calls = 0

    def __init__(self, save_dir, where):
        super().__init__(save_dir)
        self.where = where

    experiment = None

    def _init_env(self):
        raise NotImplementedError

    def add_scalars(self, *args, **kwargs):
        FailingVisBackend.calls += 1
        if self.where == 'add_scalars':
            raise OSError(28, 'No space left on device')

    def close(self):
        if self.where == 'close':
            raise RuntimeError('broken pipe')


@pytest.mark.parametrize(('where', 'calls', 'message'), [
    ('add_scalars', 1, 'OSError: [Errno 28] No space left on device'), ('close', 3, 'RuntimeError: broken pipe')])
def test_a_backend_that_fails_on_the_way(where, calls, message, train):
    FailingVisBackend.calls = 0
    log = train(dict(type='FailingVisBackend', where=where))
    assert log.count('FailingVisBackend failed and is switched off') == 1 and message in log
    assert FailingVisBackend.calls == calls, 'told nothing more once it has failed'


@pytest.mark.parametrize(('number', 'ends'), [(errno.ENOSPC, False), (errno.EDQUOT, False), (errno.EIO, True)])
def test_a_disk_that_fails_under_scalars_json(train, monkeypatch, number, ends):
    """A full one costs a record; what else may be wrong with it ends the run."""
    write, failed = LocalVisBackend.add_scalars, []

    def failing(self, *args, **kwargs):
        write(self, *args, **kwargs)
        if not failed:
            failed.append(1)
            raise OSError(number, 'Something about the disk')
    monkeypatch.setattr(LocalVisBackend, 'add_scalars', failing)
    if ends:
        with pytest.raises(OSError, match='Something about the disk'):
            train('local')
    else:
        log = train('local')
        assert 'ERROR' in log and 'add_scalars: Something about the disk; training goes on without this record.' in log


@VISBACKENDS.register_module()
class UnimportableVisBackend(FailingVisBackend):
    def __init__(self, save_dir):
        raise ImportError("No module named 'curves'")


def test_a_backend_that_misses_its_package_when_it_is_built(train):
    log = train(dict(type='UnimportableVisBackend'))
    assert log.count('UnimportableVisBackend failed and is switched off; the run goes on without it: ImportError: No '
                     "module named 'curves'") == 1


def test_backends_are_guarded_by_the_config(tmp_path):
    ready = LocalVisBackend(str(tmp_path))
    cfg = Config(dict(name=tmp_path.name, save_dir=str(tmp_path), vis_backends=[
        dict(type='mmengine.TensorboardVisBackend'), dict(type='LocalVisBackend', name='mine', img_save_dir='images'),
        dict(type=LocalVisBackend, save_dir=str(tmp_path / 'other'))]))
    before = copy.deepcopy(cfg.to_dict())
    visualizer = Visualizer(**guard_vis_backends(cfg._cfg_dict))
    assert cfg.to_dict() == before
    tensorboard, mine, local = (visualizer.get_backend(name) for name in (
        'TensorboardVisBackend', 'mine', 'LocalVisBackend'))
    assert all(type(backend) is GuardedVisBackend for backend in (tensorboard, mine, local))
    assert type(tensorboard.experiment).__name__ == 'SummaryWriter'
    assert isinstance(mine.experiment, LocalVisBackend) and mine._img_save_dir.endswith('vis_data/images')
    assert local._save_dir == local.experiment._save_dir == str(tmp_path / 'other')
    built = Visualizer(**guard_vis_backends(dict(
        name=f'{tmp_path.name} built', save_dir=str(tmp_path), vis_backends=ready)))
    assert type(built.get_backend('LocalVisBackend')) is GuardedVisBackend
    assert built.get_backend('LocalVisBackend').experiment is ready.experiment
    for one in (dict(type='LocalVisBackend'), [dict(type='LocalVisBackend')]):
        once = guard_vis_backends(dict(vis_backends=one))
        assert [backend['type'] for backend in once['vis_backends']] == ['GuardedVisBackend']
        assert guard_vis_backends(once) == once


def test_the_dumped_config_and_a_ready_visualizer_stay_what_they_are(tmp_path):
    def run(visualizer, cfg, name):
        return MambaVisionRunner(Model(), str(tmp_path), experiment_name=tmp_path.name + name, visualizer=visualizer,
                                 cfg=cfg)
    cfg = Config(dict(visualizer=dict(type='Visualizer', vis_backends=dict(type='LocalVisBackend'))))
    before = cfg.pretty_text
    built = run(cfg.visualizer, cfg, 'a')
    assert cfg.pretty_text == built.cfg.pretty_text == before
    assert type(built.visualizer.get_backend('LocalVisBackend')) is GuardedVisBackend
    default = run(None, None, 'b').visualizer
    assert type(default.get_backend('LocalVisBackend')) is GuardedVisBackend
    ready = Visualizer(name='ready', vis_backends=[dict(type='LocalVisBackend')], save_dir=str(tmp_path))
    assert run(ready, None, 'c').visualizer is ready
    assert type(ready.get_backend('LocalVisBackend')) is LocalVisBackend
