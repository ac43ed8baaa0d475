"""Half an hour of training (SOAK_MINUTES), with the memory sampled: it does not grow."""
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ..helpers import ROOT

MINUTES = float(os.environ.get('SOAK_MINUTES', 30))


def memory(process) -> tuple[float, float]:
    """Megabytes that a process and its workers take together, and that it alone has, without the files they map.

    The first counts once what they share, which becomes less without anything growing: a worker starts with all of its
    parent's pages, and either's writing to one, if only a reference count, makes a copy. The second has them from the
    start.
    """
    texts = [Path(f'/proc/{p.pid}/smaps_rollup').read_text() for p in (process, *process.children(recursive=True))]
    together = sum(int(kb) for text in texts for kb in re.findall(r'^Pss_(?:Anon|Shmem): +(\d+) kB', text, re.M))
    alone = int(re.search(r'^Anonymous: +(\d+) kB', texts[0], re.M)[1])
    return together / 1024, alone / 1024


def quarters(samples, of) -> list:
    return [of(samples[i * len(samples) // 4:(i + 1) * len(samples) // 4]) for i in range(4)]


@pytest.mark.slow
@pytest.mark.timeout(MINUTES * 60 + 600)
def test_memory_does_not_grow(tmp_path, configs, shapes):
    """Segmentor on Shapes, two workers, checkpoint, validation and log all the while; then it is asked to leave."""
    command = [sys.executable, Path(__file__).with_name('watched_training.py'), tmp_path / 'kept',
               ROOT / 'tools/train.py', configs.segmentor, '--work-dir', tmp_path / 'wd',
               '--cfg-options', f'data_root={shapes}', 'train_cfg.max_iters=10000000', 'train_cfg.val_interval=200',
               'default_hooks.checkpoint.interval=100', 'default_hooks.logger.interval=50',
               'train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True']

    def kept():
        return [[int(number) for number in line.split()] for line in (tmp_path / 'kept').read_text().splitlines()]
    samples = []
    with open(tmp_path / 'out', 'w') as out:
        training = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        process = psutil.Process(training.pid)
        while not (tmp_path / 'wd/iter_200.pth').exists():  # warm: data, caches, TensorBoard's thread
            assert training.poll() is None, (tmp_path / 'out').read_text()[-3000:]
            time.sleep(0.5)
        warm = len(kept())
        end = time.monotonic() + MINUTES * 60
        while time.monotonic() < end:
            time.sleep(min(5, MINUTES))
            assert training.poll() is None, (tmp_path / 'out').read_text()[-3000:]
            try:
                samples.append(memory(process))
            except (psutil.NoSuchProcess, OSError):  # a worker of a validation that has just ended
                continue
        training.send_signal(signal.SIGUSR1)
        assert training.wait() == 75
    iterations = (tmp_path / 'wd/last_checkpoint').read_text().split('iter_')[-1][:-4]
    print(f'{MINUTES:g} minutes, {iterations} iterations, {len(samples)} samples')
    for name, values, growth in zip(('all processes', 'training process'), zip(*samples), (1.03, 1.01)):
        medians = quarters(values, statistics.median)
        print(f'{name}: medians of the quarters {", ".join(f"{value:.1f}" for value in medians)} MB, least '
              f'{min(values):.1f}, most {max(values):.1f}')
        assert medians[3] < medians[1] * growth + 5
    # What grows by design is the history of what is logged, for 10,000 iterations: 16 bytes for each of some numbers.
    for name, values, growth in zip(('bytes', 'objects'), zip(*kept()[warm:]), (3e6, 5e3)):
        medians = quarters(values, statistics.median)
        print(f'{name} in use after a collection, of {len(values)}: medians of the quarters '
              f'{", ".join(f"{value:,.0f}" for value in medians)}')
        assert medians[3] < medians[1] + growth
