"""A long run's record of what it logged has bounds, and the log is the same."""
import json

import pytest
from mmengine.registry import LOG_PROCESSORS
from mmengine.runner import LogProcessor

from mmvision_mamba.engine.hooks.history import HistoryHook

from ...helpers.tiny_training import runner

LOSS = dict(data_src='loss', method_name='mean')


@LOG_PROCESSORS.register_module(force=True)
class OwnLogProcessor(LogProcessor):
    """Looks at whatever it likes."""


def train(path, **options):
    """The log, without times and memory, and how many values each history has in the end."""
    run = runner(path, **options)
    run.train()
    lines = [json.loads(line) for line in next(path.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    timed = 'time', 'images_per_second', 'memory'
    return ([{k: v for k, v in line.items() if not any(name in k for name in timed)} for line in lines],
            {name: len(history.data[0]) for name, history in run.message_hub.log_scalars.items()})


# Iterations: 40 in all, of epochs 42; a validation of 3 batches.
@pytest.mark.parametrize(('by_epoch', 'log', 'length'), [
    (False, dict(window_size=4), 5),
    (True, dict(window_size=4), 5),
    (False, dict(window_size=8), 8),
    (False, dict(window_size=4, custom_cfg=[dict(LOSS, log_name='long_loss', window_size=12)]), 12),
    (True, dict(window_size=4, custom_cfg=[dict(LOSS, log_name='epoch_loss', window_size='epoch')]), 6),
    (False, dict(window_size=4, custom_cfg=[dict(LOSS, log_name='global_loss', window_size='global')]), 40),
    (True, dict(window_size=4, custom_cfg=[dict(LOSS, log_name='mean_loss')]), 42),
    (False, dict(type='OwnLogProcessor', window_size=4), 40)])
def test_the_log_is_the_same(by_epoch, log, length, tmp_path, monkeypatch):
    options = dict(by_epoch=by_epoch, log_processor=dict(dict(type='LogProcessor', by_epoch=by_epoch), **log))
    before, whole = train(tmp_path / 'whole', **options)
    monkeypatch.setattr(HistoryHook, 'LENGTH', 5)
    after, bounded = train(tmp_path / 'bounded', **options)
    assert after == before and len(before) >= 8
    assert whole['train/loss'] == (42 if by_epoch else 40) and whole['val/time'] > 5
    assert bounded['train/loss'] == bounded['train/lr'] == length


def test_all_of_a_validation_is_averaged(tmp_path, monkeypatch):
    monkeypatch.setattr(HistoryHook, 'LENGTH', 2)
    assert train(tmp_path, log_processor=dict(window_size=1, by_epoch=False))[1]['train/loss'] == 3


def test_a_run_resumed_from_a_longer_history(tmp_path, monkeypatch):
    train(tmp_path / 'all', train_cfg=dict(type='IterBasedTrainLoop', max_iters=20, val_interval=10))
    monkeypatch.setattr(HistoryHook, 'LENGTH', 10)
    run = runner(tmp_path / 'all', resume=True)
    run.train()
    assert run.iter == 40
    assert len(run.message_hub.get_scalar('train/loss').data[0]) == 10
