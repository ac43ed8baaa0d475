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

from .conftest import ROOT

MINUTES = float(os.environ.get('SOAK_MINUTES', 30))


def memory(process) -> float:
    """Megabytes of a process and its workers; what they share counts once, files they map (libraries) not at all: how
    much of those is theirs depends on who else on the machine has them open."""
    text = ''.join(Path(f'/proc/{p.pid}/smaps_rollup').read_text()
                   for p in (process, *process.children(recursive=True)))
    return sum(map(int, re.findall(r'^Pss_(?:Anon|Shmem): +(\d+) kB', text, re.MULTILINE))) / 1024


@pytest.mark.slow
@pytest.mark.timeout(MINUTES * 60 + 600)
def test_memory_does_not_grow(tmp_path, configs, shapes):
    """Segmentor on Shapes, two workers, checkpoint, validation and log all the while; then it is asked to leave."""
    command = [sys.executable, ROOT / 'tools/train.py', configs.segmentor, '--work-dir', tmp_path / 'wd',
               '--cfg-options', f'data_root={shapes}', 'train_cfg.max_iters=10000000', 'train_cfg.val_interval=200',
               'default_hooks.checkpoint.interval=100', 'default_hooks.logger.interval=50',
               'train_dataloader.num_workers=2', 'train_dataloader.persistent_workers=True']
    samples = []
    with open(tmp_path / 'out', 'w') as out:
        training = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        process = psutil.Process(training.pid)
        while not (tmp_path / 'wd/iter_200.pth').exists():  # warm: data, caches, TensorBoard's thread
            assert training.poll() is None, (tmp_path / 'out').read_text()[-3000:]
            time.sleep(0.5)
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
    quarters = [statistics.median(samples[i * len(samples) // 4:(i + 1) * len(samples) // 4]) for i in range(4)]
    early, late = quarters[1], quarters[3]
    iterations = (tmp_path / 'wd/last_checkpoint').read_text().split('iter_')[-1][:-4]
    print(f'{MINUTES:g} minutes, {iterations} iterations, {len(samples)} samples: medians of the quarters '
          f'{", ".join(f"{value:.1f}" for value in quarters)} MB, least {min(samples):.1f}, most {max(samples):.1f}')
    # mmengine keeps every logged number of a run: tens of bytes an iteration
    assert late < early * 1.03 + 5
