"""Lines of the log say in words how fast a run is, and what is recorded stays readable by others."""
import json
import re
import time

import pytest
from mmengine.hooks import Hook, IterTimerHook

from mmvision_mamba.engine import SpeedLogProcessor

from ..helpers.tiny_training import runner

TAIL = re.compile(r'  ([\d.]+) images/s, ([\d.]+) GiB of memory, (.+) left$')


@pytest.mark.parametrize('by_epoch', [False, True])
def test_images_memory_and_time_left(tmp_path, by_epoch, monkeypatch):
    run, lines = runner(tmp_path, by_epoch=by_epoch, log_processor=dict(by_epoch=by_epoch)), []
    monkeypatch.setattr(run.logger, 'info', lines.append)
    run.train()
    records = [json.loads(line) for line in next(tmp_path.glob('*/vis_data/scalars.json')).read_text().splitlines()]
    records = [record for record in records if 'iter' in record]
    logged = [line for line in lines if '(train)' in line and 'loss' in line]
    assert len(logged) == len(records) >= 7
    for line, record in zip(logged, records):
        speed, memory, left = TAIL.search(line).groups()
        assert record['images_per_second'] == pytest.approx(4 / record['time'])
        assert float(speed) == pytest.approx(record['images_per_second'], abs=0.1)
        assert float(memory) == pytest.approx(record['memory'] / 1024, abs=0.06) and 10 < record['memory'] < 100_000
        assert re.fullmatch(r'\d+ (second|minute)s?( \d+ seconds?)?', left)
        assert f'  time: {record["time"]:.4f}  data_time: ' in line and f'  loss: {record["loss"]:.4f}  ' in line


def test_a_processor_of_ones_own_stays(tmp_path):
    from mmengine.registry import LOG_PROCESSORS
    from mmengine.runner import LogProcessor

    @LOG_PROCESSORS.register_module(force=True)
    class Mine(LogProcessor):
        pass
    assert type(runner(tmp_path, log_processor=dict(type='Mine')).log_processor) is Mine
    for stock in ('LogProcessor', 'mmengine.LogProcessor'):
        assert type(runner(tmp_path, log_processor=dict(type=stock)).log_processor) is SpeedLogProcessor


def test_a_validation_is_no_part_of_the_next_iterations_time(tmp_path):
    """An iteration is timed from the end of the metrics on, every ten of forty."""
    run, ends, begins = runner(tmp_path), [], []
    timer = next(hook for hook in run.hooks if isinstance(hook, IterTimerHook))

    class Watch(Hook):
        priority = 'HIGHEST'

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            if runner.iter in (10, 20, 30):
                begins.append(timer.t)
    run.register_hook(Watch())
    run.val_evaluator.metrics[0].compute_metrics = lambda results: ends.append(time.time()) or dict(acc=0.5)
    run.train()
    assert len(begins) == 3 and all(end <= begin for end, begin in zip(ends, begins))
