import json
import multiprocessing
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from mmvision_mamba.benchmark.plan import PLAN

from ...helpers import ROOT
from ...helpers.scripts import load_script

gpu_check = load_script('gpu_check')


def make_wheel(folder, name='thing', code='VALUE = 7\n'):
    folder.mkdir(exist_ok=True)
    info = f'{name}-1.0.dist-info'
    with zipfile.ZipFile(folder / f'{name}-1.0-py3-none-any.whl', 'w') as wheel:
        wheel.writestr(f'{name}.py', code)
        wheel.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n')
        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        wheel.writestr(f'{info}/RECORD', '')
    return folder


@pytest.fixture
def check(tmp_path, monkeypatch):
    """A check that takes this machine for one with a GPU."""
    monkeypatch.setattr(gpu_check.Check, '_know_machine', lambda self: None)
    monkeypatch.setattr(gpu_check.Check, 'results', tmp_path / 'results')
    wheels = make_wheel(tmp_path / 'wheels')

    def make(*options):
        return gpu_check.Check(gpu_check.parse_args(
            ['--wheels', str(wheels), '--out', str(tmp_path / 'out'), *map(str, options)]))
    return make


def test_every_part_of_the_benchmark_belongs_to_one_stage():
    parts = [part for stage in gpu_check.STAGES.values() for part in stage.benchmarks]
    assert sorted(parts) == sorted(PLAN['cuda'])


def dry_run(*options):
    """The stages that it would run, and all that it prints."""
    done = subprocess.run([sys.executable, ROOT / 'tools/gpu_check.py', '--dry-run', *options], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    return [line.split(']')[0][1:] for line in done.stdout.splitlines() if line.startswith('[')], done.stdout


def test_dry_run_shows_every_stage_anywhere():
    stages, text = dry_run()
    assert stages == list(gpu_check.STAGES)
    for word in ('-m gpu', 'tools/demo.py', 'selective_scan_cuda', 'optim_wrapper.dtype=bfloat16'):
        assert word in text
    assert 'MMCV_WITH_OPS' not in text


def test_a_machine_without_a_gpu_is_told_so(tmp_path):
    done = subprocess.run([sys.executable, ROOT / 'tools' / 'gpu_check.py', '--wheels', make_wheel(tmp_path / 'w'),
                           '--out', tmp_path / 'out'], capture_output=True, text=True, env={'CUDA_VISIBLE_DEVICES': ''})
    assert done.returncode == 1
    assert 'no CUDA device' in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path / 'out').exists()


def test_an_empty_folder_of_wheels_is_an_error(tmp_path):
    with pytest.raises(SystemExit):
        gpu_check.parse_args(['--wheels', str(tmp_path)])


def test_needed_stages_come_first():
    assert dry_run('--stages', 'amp', 'kernels')[0] == ['install', 'kernels', 'demo', 'amp']


def test_wheels_are_installed_found_and_not_installed_again(check, tmp_path, capsys):
    one = check()
    assert one.run(['install'], again=False)
    assert (tmp_path / 'out/site/thing.py').read_text() == 'VALUE = 7\n'
    assert '-m pip' in (tmp_path / 'out/logs/install.log').read_text()
    one.log = tmp_path / 'log'
    one._call('-c', 'import thing; print(thing.VALUE)')
    assert (tmp_path / 'log').read_text().endswith('\n7\n')
    with tarfile.open(tmp_path / 'out/gpu_check.tar.gz') as archive:
        assert {'state.json', 'logs/install.log'} <= set(archive.getnames())

    (tmp_path / 'out/site/thing.py').unlink()
    assert check().run(['install'], again=False)
    assert 'passed before' in capsys.readouterr().out
    assert not (tmp_path / 'out/site/thing.py').exists()
    assert check().run(['install'], again=True)
    assert (tmp_path / 'out/site/thing.py').exists()


def test_what_was_made_for_another_machine_is_made_anew(check, tmp_path, monkeypatch):
    assert check().run(['install'], again=False)
    monkeypatch.setattr(gpu_check, '_boot', lambda: 'another')
    (tmp_path / 'out/site/thing.py').unlink()
    assert check().run(['install'], again=False)
    assert (tmp_path / 'out/site/thing.py').exists()


def test_a_failed_stage_stops_only_those_that_need_it(check, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu_check.Check, '_demo', lambda self: self._call('-c', 'raise SystemExit("no memory")'))
    monkeypatch.setattr(gpu_check.Check, '_kernels', lambda self: self._call('-c', 'print("right")'))
    assert not check().run(['kernels', 'amp'], again=False)
    state = json.loads((tmp_path / 'out/state.json').read_text())
    assert {name: s['passed'] for name, s in state.items()} == dict(install=True, kernels=True, demo=False, amp=False)
    assert state['amp']['why'] == 'needs demo'
    assert 'no memory' in capsys.readouterr().out


def test_a_command_past_its_limit_is_ended_with_all_it_started(check, tmp_path, monkeypatch):
    child = 'import subprocess, sys; subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"])'
    monkeypatch.setattr(gpu_check.Check, '_kernels', lambda self: self._call('-c', child))
    start = time.perf_counter()
    assert not check('--limit', 3).run(['kernels'], again=False)
    assert time.perf_counter() - start < 55
    assert 'TimeoutExpired' in json.loads((tmp_path / 'out/state.json').read_text())['kernels']['why']


def runs(pid):
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(') ')[2][0] != 'Z'
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_what_a_killed_check_had_started_ends_with_it(check, tmp_path):
    """Its children are of a session of their own, which no signal to the check reaches."""
    child = (f'import os, subprocess, sys; open({str(tmp_path / "pids")!r}, "w").write(str(os.getpid()) + " "); '
             'subprocess.run([sys.executable, "-c", "import os, time; '
             f'open({str(tmp_path / "pids")!r}, \'a\').write(str(os.getpid()) + \' end\'); time.sleep(60)"])')
    one = check('--limit', 300)
    one.log = tmp_path / 'log'
    process = multiprocessing.get_context('fork').Process(target=one._call, args=('-c', child))
    process.start()
    pids = tmp_path / 'pids'
    while not pids.exists() or not pids.read_text().endswith('end'):
        assert process.is_alive(), one.log.read_text()
        time.sleep(0.05)
    process.kill()
    process.join()
    deadline = time.monotonic() + 30
    for pid in map(int, pids.read_text().split()[:2]):
        while runs(pid):
            assert time.monotonic() < deadline, f'{pid} still runs'
            time.sleep(0.05)
