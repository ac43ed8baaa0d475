"""tools/slurm_train.sh: what it asks for, and Slurm's preemption."""
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from ..helpers import ROOT


def executable(path, text):
    path.write_text(f'#!/usr/bin/env bash\n{text}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def slurm(tmp_path):
    """An environment in which `srun` starts one task and hands signals on, and `scontrol` notes what it is told."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    executable(folder / 'srun', 'shift  # --wait\nexport SLURM_PROCID=0 SLURM_NTASKS=1 SLURM_LOCALID=0\n"$@" &\n'
               'trap "kill -USR1 $!" USR1\nwait $!; code=$?\n'
               'while [ $code -gt 128 ] && kill -0 $! 2>/dev/null; do wait $!; code=$?; done\nexit $code')
    executable(folder / 'scontrol', f'[ "$1" = show ] && echo localhost || echo "$@" >> {tmp_path}/scontrol.log')
    return {**os.environ, 'PATH': f'{folder}:{os.path.dirname(sys.executable)}:{os.environ["PATH"]}',
            'VIRTUAL_ENV': os.path.dirname(os.path.dirname(sys.executable)), 'SLURM_JOB_ID': '4711',
            'SLURM_NODELIST': 'localhost', 'MASTER_PORT': '29541', 'PYTHONPATH': str(ROOT)}


def test_slurm_script_says_how_to_use_it(tmp_path, slurm):
    script = ROOT / 'tools/slurm_train.sh'
    done = subprocess.run([script], capture_output=True, text=True, env=slurm)
    assert done.returncode == 2 and 'usage: sbatch' in done.stderr
    outside = {k: v for k, v in slurm.items() if k != 'SLURM_JOB_ID'}
    done = subprocess.run([script, 'config.py'], capture_output=True, text=True, env=outside)
    assert done.returncode == 2 and 'not in a Slurm job' in done.stderr
    executable(tmp_path / 'bin/srun', 'exit 3')
    assert subprocess.run([script, 'config.py'], env=slurm, cwd=tmp_path).returncode == 3
    assert not (tmp_path / 'scontrol.log').exists()


def test_preempted_before_the_training_began_the_job_is_queued_again(tmp_path, slurm):
    """While Python imports and data sets load, the signal ends the task; srun then gives 128 and its number."""
    script = ROOT / 'tools/slurm_train.sh'
    executable(tmp_path / 'bin/python3', f'touch {tmp_path}/started; exec sleep 60')
    job = subprocess.Popen([script, 'config.py'], env={k: v for k, v in slurm.items() if k != 'VIRTUAL_ENV'} |
                           {'CONDA_PREFIX': 'base'}, cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    while not (tmp_path / 'started').exists():
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    assert 'job 4711 is queued again' in job.communicate(timeout=30)[0] and job.returncode == 0
    assert (tmp_path / 'scontrol.log').read_text() == 'requeue 4711\n'


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_preempted_job_is_queued_again_and_goes_on(tmp_path, slurm, configs, shapes):
    command = [ROOT / 'tools/slurm_train.sh', configs.segmentor, '--work-dir', tmp_path / 'wd', '--cfg-options',
               f'data_root={shapes}', 'train_cfg.max_iters=40', 'train_cfg.val_interval=40',
               'default_hooks.checkpoint.interval=5']
    with open(tmp_path / 'out', 'w') as out:
        job = subprocess.Popen(command, cwd=tmp_path, env=slurm, stdout=out, stderr=subprocess.STDOUT)
        while not (tmp_path / 'wd/iter_5.pth').exists():
            assert job.poll() is None, (tmp_path / 'out').read_text()[-3000:]
            time.sleep(0.1)
        job.send_signal(signal.SIGUSR1)
        assert job.wait() == 0
    text = (tmp_path / 'out').read_text()
    assert 'Asked to leave by a signal' in text and 'job 4711 is queued again' in text
    assert (tmp_path / 'scontrol.log').read_text() == 'requeue 4711\n'
    step = int((tmp_path / 'wd/last_checkpoint').read_text().split('iter_')[-1][:-4])
    assert 5 <= step < 40
    done = subprocess.run(command, cwd=tmp_path, env={**slurm, 'SLURM_RESTART_COUNT': '1'}, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'resumed epoch: 0, iter: {step}' in done.stdout + done.stderr
    assert (tmp_path / 'wd/last_checkpoint').read_text().endswith('iter_40.pth')
    assert (tmp_path / 'scontrol.log').read_text() == 'requeue 4711\n'
