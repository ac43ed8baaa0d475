import importlib.util
import json
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from mmvision_mamba.benchmark.command import PLAN

ROOT = Path(__file__).resolve().parents[2]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / 'tools' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


gpu_check, pack_wheels = load('gpu_check'), load('pack_wheels')


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


def test_dry_run_shows_every_stage_anywhere():
    done = subprocess.run([sys.executable, ROOT / 'tools/gpu_check.py', '--dry-run'], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line.split(']')[0][1:] for line in done.stdout.splitlines() if line.startswith('[')] == list(
        gpu_check.STAGES)
    for word in ('-m gpu', 'tools/demo.py', 'MMCV_WITH_OPS=1', 'selective_scan_cuda', 'optim_wrapper.dtype=bfloat16'):
        assert word in done.stdout


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
    assert gpu_check._with_needs(['amp', 'kernels']) == ['install', 'kernels', 'mmcv', 'demo', 'amp']


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
    monkeypatch.setattr(gpu_check.Check, '_mmcv', lambda self: self._call('-c', 'raise SystemExit("no compiler")'))
    monkeypatch.setattr(gpu_check.Check, '_kernels', lambda self: self._call('-c', 'print("right")'))
    assert not check().run(['kernels', 'demo'], again=False)
    state = json.loads((tmp_path / 'out/state.json').read_text())
    assert {name: s['passed'] for name, s in state.items()} == dict(install=True, kernels=True, mmcv=False, demo=False)
    assert state['demo']['why'] == 'needs mmcv'
    assert 'no compiler' in capsys.readouterr().out


def test_a_command_past_its_limit_is_ended_with_all_it_started(check, tmp_path, monkeypatch):
    child = 'import subprocess, sys; subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"])'
    monkeypatch.setattr(gpu_check.Check, '_kernels', lambda self: self._call('-c', child))
    start = time.perf_counter()
    assert not check('--limit', 3).run(['kernels'], again=False)
    assert time.perf_counter() - start < 50
    assert 'TimeoutExpired' in json.loads((tmp_path / 'out/state.json').read_text())['kernels']['why']


def test_packing_takes_the_pins_of_the_other_python():
    old, new = pack_wheels.constraints('3.10'), pack_wheels.constraints('3.12')
    assert str(old['scipy'].specifier) != str(new['scipy'].specifier)
    assert 'exceptiongroup' in old and 'exceptiongroup' not in new
    assert old['numpy'].specifier == new['numpy'].specifier


def test_packing_leaves_out_what_is_there(tmp_path):
    (tmp_path / 'freeze.txt').write_text('SciPy==1.0\n# comment\nOpenCV_Python @ file:///x\n')
    there = pack_wheels.already_there([str(tmp_path / 'freeze.txt'), 'shapely'])
    assert there == {*pack_wheels.TORCH, 'scipy', 'opencv-python', 'shapely'}


@pytest.mark.parametrize('options', [['--python', '3'], ['--python', 'py312'], ['FILE']])
def test_packing_refuses_wrong_options(options, tmp_path, capsys):
    file = tmp_path / 'file'
    file.write_text('')
    with pytest.raises(SystemExit) as error:
        pack_wheels.parse_args([str(file) if option == 'FILE' else option for option in options]
                               + ([str(tmp_path / 'out')] if 'FILE' not in options else []))
    assert error.value.code == 2
    assert ('is a file' if 'FILE' in options else 'such as 3.12') in capsys.readouterr().err


@pytest.mark.slow  # needs the package index
def test_packed_folder_is_whole_and_small(tmp_path, capsys):
    assert pack_wheels.main([str(tmp_path / 'wheels'), '--python', '3.12']) == 0
    names = {path.name.split('-')[0].lower() for path in (tmp_path / 'wheels').iterdir()}
    assert {'mmcv', 'mamba_ssm', 'mmengine', 'mmdet', 'mmsegmentation', 'numpy', 'pycocotools', 'hypothesis'} <= names
    assert not names & {'torch', 'triton', 'torchvision', 'timm', 'scipy'}
    assert all('cp312' in p.name or 'py3' in p.name or 'abi3' in p.name for p in (tmp_path / 'wheels').glob('*.whl'))
    assert ' MB  in all' in capsys.readouterr().out
