"""Jobs of several processes: workers that die, preemption, and the same numbers as one process computes."""
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook

from mmvision_mamba.commands.steps.restart import use_resume
from mmvision_mamba.errors import DivergenceError
from mmvision_mamba.work_dirs import hold

from ..helpers.tiny_training import equal, runner, weights

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, 'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}', 'OMP_NUM_THREADS': '1'}


def torchrun(processes, script, *arguments, restarts=0, **options):
    return subprocess.run([sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node',
                           str(processes), '--max-restarts', str(restarts), ROOT / 'tests/engine' / script,
                           *map(str, arguments)], env=ENVIRONMENT, capture_output=True, text=True, **options)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize('processes', [2, 3, 4])
def test_killed_workers_are_started_again_and_resume(tmp_path, processes):
    """Six kills by SIGKILL of different processes: in the middle of an epoch, while saving, while validating."""
    kills = [(1, 'iteration', 1), (1, 'iteration', 4), (0, 'save', 6), (processes - 1, 'validation', 8),
             (processes - 1, 'iteration', 10), (0, 'validation', 12)]
    done = torchrun(processes, 'elastic_worker.py', tmp_path / 'whole', '[]', cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    done = torchrun(processes, 'elastic_worker.py', tmp_path / 'killed', json.dumps(kills), restarts=len(kills),
                    cwd=tmp_path)  # where mmengine leaves a folder when it is killed while it collects results
    assert done.returncode == 0, done.stderr[-3000:]
    whole, killed = torch.load(tmp_path / 'whole/weights'), torch.load(tmp_path / 'killed/weights')
    assert (whole['starts'], killed['starts']) == (1, len(kills) + 1)
    assert equal(whole['weights'], killed['weights'])


def test_what_a_restarted_job_resumes_from(tmp_path, monkeypatch):
    def resumed(asked, **cfg):
        cfg = Config(dict(work_dir=str(tmp_path), load_from='pretrained.pth', **cfg))
        use_resume(cfg, asked)
        return cfg.get('resume', False), cfg.load_from

    pointer = tmp_path / 'last_checkpoint'
    pointer.write_text('iter_9.pth')
    for asked, begins in (('auto', 'pretrained.pth'), ('other.pth', None), (None, None)):
        cfg = Config(dict(work_dir=str(tmp_path), load_from='pretrained.pth'))
        assert use_resume(cfg, asked) == begins, 'where there turns out to be none'
    for asked, cfg in (('auto', {}), ('other.pth', {}), (None, dict(resume=True))):
        resumed(asked, **cfg)
        assert pointer.exists()
    assert resumed(None) == (False, 'pretrained.pth')
    assert pointer.exists(), 'nothing of an earlier run is touched yet'
    with pytest.raises(KeyError), hold(tmp_path):  # as the command does; then the job fails, and is started again
        assert resumed(None) == (False, 'pretrained.pth')
        raise KeyError
    monkeypatch.setenv('SLURM_RESTART_COUNT', '1')
    assert resumed(None) == (False, 'pretrained.pth'), "it would go on from the earlier run's"
    monkeypatch.delenv('SLURM_RESTART_COUNT')
    with pytest.raises(KeyError), hold(tmp_path):
        assert resumed('auto') == (True, None)
        raise KeyError
    assert resumed('auto') == (True, None)
    assert resumed('other.pth') == (True, 'other.pth')
    for name in ('TORCHELASTIC_RESTART_COUNT', 'SLURM_RESTART_COUNT'):
        monkeypatch.setenv(name, '0')
        assert resumed(None) == (False, 'pretrained.pth')
        monkeypatch.setenv(name, '1')
        (tmp_path / 'last_checkpoint').unlink(missing_ok=True)
        assert resumed(None) == (False, 'pretrained.pth'), 'nothing was saved yet'
        assert resumed('other.pth') == (True, 'other.pth')
        (tmp_path / 'last_checkpoint').write_text('iter_5.pth')
        assert resumed(None) == resumed('other.pth') == (True, None)
        monkeypatch.delenv(name)
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '2')
    (tmp_path / 'divergence').mkdir()
    report = tmp_path / 'divergence' / 'iter_7.json'
    report.write_text('{"action": "stop"}')
    os.utime(tmp_path / 'last_checkpoint', (1, 1))
    with pytest.raises(DivergenceError, match='not started again'):
        resumed(None)
    os.utime(report, (0, 0))
    assert resumed(None) == (True, None)


class Signal(Hook):
    def __init__(self, iteration, stage):
        self.iteration, self.stage = iteration, stage

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.stage == 'training' and runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), signal.SIGUSR1)

    def before_val_iter(self, runner, batch_idx, data_batch=None):
        if self.stage == 'validation' and runner.iter == self.iteration:
            os.kill(os.getpid(), signal.SIGUSR1)


@pytest.mark.parametrize(('options', 'iteration', 'stage', 'files'), [
    ({}, 13, 'training', ['iter_10.pth', 'iter_13.pth', 'iter_5.pth']),
    (dict(checkpoint=dict(max_keep_ckpts=-1)), 13, 'training', ['iter_10.pth', 'iter_13.pth', 'iter_5.pth']),
    ({}, 10, 'training', ['iter_10.pth', 'iter_5.pth']),
    (dict(hooks=[dict(type='EMAHook')]), 20, 'validation', ['iter_15.pth', 'iter_20.pth']),
    (dict(by_epoch=True), 15, 'training', ['epoch_1.pth', 'epoch_2.pth', 'iter_15.pth']),
], ids=['between', 'all kept', 'at a checkpoint', 'validation', 'mid-epoch'])
def test_a_signal_saves_and_ends_the_run_which_goes_on(tmp_path, options, iteration, stage, files):
    whole = runner(tmp_path / 'whole', **options)
    whole.train()
    options = dict(options, hooks=[*options.get('hooks', []), dict(type='PreemptionHook')])
    before = signal.getsignal(signal.SIGUSR1)
    try:
        preempted = runner(tmp_path / 'parts', **options)
        preempted.register_hook(Signal(iteration, stage))
        with pytest.raises(SystemExit) as exit_:
            preempted.train()
        assert exit_.value.code == 75
        found = sorted(path.name for path in (tmp_path / 'parts').glob('*.pth') if not path.name.startswith('best'))
        assert found == files
        resumed = runner(tmp_path / 'parts', resume=True, **options)
        resumed.train()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert equal(weights(whole.model), weights(resumed.model))
    assert len(resumed.model.seen) == whole.iter - iteration
    names = [sorted(path.name for path in (tmp_path / part).glob('*.pth')) for part in ('whole', 'parts')]
    assert names[0] == names[1], 'the checkpoint of the signal is removed with the next one'


@pytest.mark.slow
@pytest.mark.parametrize('processes', [2, 4])
def test_gradients_of_several_processes_are_those_of_one(processes):
    """1 x 4 images, 2 x 2, 4 x 1. BatchNorm over a process's own images is another function, as everywhere."""
    done = torchrun(processes, 'gradient_worker.py')
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    print(processes, result)
    assert result['running statistics'] < 1e-5
    assert result['statistics of the batch'] > 1e-3
