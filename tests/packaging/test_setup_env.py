"""tools/setup_env.sh: what it refuses, in a line or two, and what it leaves alone. `make env` tests the rest."""
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / 'tools/setup_env.sh'
NO_INDEX = {'PIP_INDEX_URL': 'http://127.0.0.1:9', 'PIP_EXTRA_INDEX_URL': '', 'PIP_FIND_LINKS': '', 'PIP_RETRIES': '0'}


def setup_env(*arguments, script=SCRIPT, cwd=None, **environment):
    environment = {'PYTHON': sys.executable, **environment}
    return subprocess.run([script, *map(str, arguments)], env=os.environ | environment, cwd=cwd, capture_output=True,
                          text=True, timeout=120)


def refusal(result) -> str:
    assert result.returncode == 2, result.stdout + result.stderr
    assert result.stderr.count('\n') == 1, result.stderr
    return result.stderr


@pytest.mark.parametrize(('arguments', 'words'), [
    (['--no-such'], "unknown option '--no-such'"),
    (['--stack', 'mmlab'], "--stack must be openmmlab or onedl, got 'mmlab'"),
    (['--mmcv', 'full'], "--mmcv must be lite or compiled, got 'full'"),
    (['--torch', 'cuda'], "--torch must be default or cpu, got 'cuda'"),
    (['--venv'], '--venv needs a value'),
])
def test_wrong_arguments(arguments, words):
    assert words in refusal(setup_env(*arguments))


@pytest.mark.parametrize(('version', 'mmcv', 'newest'), [
    ('(3, 9, 18)', 'lite', '3.13'), ('(3, 14, 0)', 'lite', '3.13'), ('(3, 13, 0)', 'compiled', '3.12')])
def test_a_python_too_old_or_too_new_is_named(version, mmcv, newest, tmp_path):
    python = tmp_path / 'python'
    python.write_text(f'#!{sys.executable}\nimport sys\nsys.version_info = {version}\nexec(sys.argv[2])\n')
    python.chmod(0o755)
    assert f'PYTHON={python} is not a Python 3.10 to {newest}' in refusal(setup_env('--mmcv', mmcv, PYTHON=str(python)))


def test_a_python_without_venv_is_named(tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\ncase $2 in *_base_executable*) echo "cp311-linux-x86_64 $0" ;; *) exit 1 ;; esac\n')
    python.chmod(0o755)
    message = refusal(setup_env('--venv', tmp_path / 'venv', PYTHON=str(python)))
    assert str(python) in message and 'python3-venv' in message


def read_script(function: str, *arguments, **environment) -> str:
    """What a function of the script prints, which is read up to where it would begin to install."""
    text = SCRIPT.read_text()
    head = text[:text.index('# The stamp says')].replace('"${BASH_SOURCE[0]}"', f'"{SCRIPT}"')
    result = subprocess.run(['bash', '-c', head + function, SCRIPT, *arguments], capture_output=True, text=True,
                            env=os.environ | {'PYTHON': sys.executable, 'FORCE_CUDA': '0'} | environment)
    return result.stdout or result.stderr


def test_the_compiled_way_takes_its_own_pins_where_it_has_some():
    lite, compiled = (read_script('constraints', '--mmcv', mmcv).splitlines() for mmcv in ('lite', 'compiled'))
    own = (SCRIPT.parents[1] / 'requirements/constraints-compiled.txt').read_text().splitlines()
    assert set(own) <= set(compiled) and 'mmcv==2.1.0' in own
    differ = {line.split('==')[0] for line in own}
    assert [line for line in compiled if line not in own] == [
        line for line in lite if line.split('==')[0] not in differ and not line.startswith('#')]
    assert any(line.startswith('numpy==') for line in compiled)


@pytest.mark.parametrize('stack', ['openmmlab', 'onedl'])
def test_the_cache_of_wheels_is_keyed_by_python_torch_platform_and_flavour(stack, tmp_path):
    name = dict(openmmlab='mmcv', onedl='onedl-mmcv')[stack]
    arguments = dict(MMVISION_MAMBA_CACHE=str(tmp_path))
    folder, version = read_script(f'echo $wheels; pin {name}; wheel', '--mmcv', 'compiled', '--stack', stack,
                                  **arguments).splitlines()
    key = Path(folder).name
    assert key.startswith(f'cp{sys.version_info.major}{sys.version_info.minor}-linux-')
    assert '-torch2.11.0' in key and key.endswith('-cpu')
    Path(folder).mkdir(parents=True)
    for distribution in ('mmcv', 'onedl_mmcv'):
        (Path(folder) / f'{distribution}-{version}-cp311-cp311-linux_x86_64.whl').touch()
    assert read_script('wheel', '--mmcv', 'compiled', '--stack', stack, **arguments).rstrip() == (
        f'{folder}/{name.replace("-", "_")}-{version}-cp311-cp311-linux_x86_64.whl')


def test_cuda_wheels_are_keyed_by_architecture(tmp_path):
    nvcc = tmp_path / 'bin/nvcc'
    nvcc.parent.mkdir()
    nvcc.write_text('#!/bin/sh\necho release 13.0, V13.0.88\n')
    nvcc.chmod(0o755)
    settings = {'CUDA_HOME': str(tmp_path), 'FORCE_CUDA': '1', 'TORCH_CUDA_ARCH_LIST': '8.0;9.0+PTX'}
    assert read_script('echo $wheels', '--mmcv', 'compiled', **settings).rstrip().endswith('-cuda-8.0-9.0+PTX')
    nvcc.write_text('#!/bin/sh\necho release 12.6, V12.6.1\n')
    assert 'no nvcc of CUDA 13.0' in refusal(setup_env('--mmcv', 'compiled', **settings))


def test_the_default_looks_for_no_compiler_and_no_gpu(tmp_path):
    for name in ('gcc', 'c++', 'nvcc', 'nvidia-smi'):
        (tmp_path / name).write_text(f'#!/bin/sh\ntouch {tmp_path}/asked\n')
        (tmp_path / name).chmod(0o755)
    assert 'torch==' in read_script('constraints', PATH=f'{tmp_path}:{os.environ["PATH"]}', FORCE_CUDA='1')
    assert not (tmp_path / 'asked').exists()


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / 'thesis.txt').write_text('all of it')
    assert 'name another folder' in refusal(setup_env('--venv', tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ['thesis.txt']


@pytest.fixture
def half_made(tmp_path):
    """Script and requirements alone, as in docker/Dockerfile's first layers, and an interrupted environment."""
    (tmp_path / 'tools').mkdir()
    script = Path(shutil.copy(SCRIPT, tmp_path / 'tools'))
    shutil.copytree(SCRIPT.parents[1] / 'requirements', tmp_path / 'requirements')
    (tmp_path / 'venv/bin').mkdir(parents=True)
    (tmp_path / 'venv/bin/python').write_text('interrupted')
    (tmp_path / 'venv/.mmvision_mamba').touch()
    return script


def test_a_half_made_environment_is_made_anew_and_no_network_is_one_line(half_made, tmp_path):
    result = setup_env('--venv', 'venv', '--deps-only', script=half_made, cwd=tmp_path, **NO_INDEX)
    assert "index can't be reached" in refusal(result)
    made = subprocess.run([tmp_path / 'venv/bin/python', '-m', 'pip', '--version'], capture_output=True, text=True)
    assert str(tmp_path / 'venv') in made.stdout


def fake_wheel(folder: Path, name: str, version: str) -> None:
    folder.mkdir(exist_ok=True)
    info = f'{name}-{version}.dist-info'
    with zipfile.ZipFile(folder / f'{name}-{version}-py3-none-any.whl', 'w') as wheel:
        wheel.writestr(f'{info}/METADATA', f'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n')
        wheel.writestr(f'{info}/WHEEL', 'Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
        wheel.writestr(f'{info}/RECORD', '')


def test_a_torch_for_cpus_without_its_torchvision_is_two_lines(half_made, tmp_path):
    torch = read_script('pin torch').strip()
    for name, version in (('torch', f'{torch}+cpu'), ('torchvision', '0.1.0+cpu')):
        fake_wheel(tmp_path / 'wheels', name, version)
    pins = tmp_path / 'requirements/constraints.txt'
    pins.write_text('\n'.join(line for line in pins.read_text().splitlines() if line.startswith('torch')))  # not pip's
    result = setup_env('--venv', 'venv', '--deps-only', '--torch', 'cpu', script=half_made, cwd=tmp_path,
                       PIP_NO_INDEX='1', PIP_FIND_LINKS=str(tmp_path / 'wheels'), PIP_CONFIG_FILE=os.devnull)
    assert result.returncode == 2, result.stdout + result.stderr
    first, second = result.stderr.splitlines()
    assert f'no torch {torch}+cpu with torchvision ' in first
    assert first.endswith(f'but: torch {torch}+cpu torchvision 0.1.0+cpu')
    assert 'TORCH_INDEX=URL' in second
    installed = next((tmp_path / 'venv').glob('lib/*/site-packages'))
    assert not list(installed.glob('torch-*'))


@pytest.mark.parametrize(('there', 'asked', 'expected'), [
    ('', [], 'default'), ('/x cp311 openmmlab mmcv=lite torch=cpu 2.14.1 /x', [], 'cpu'),
    ('/x cp311 openmmlab mmcv=lite torch=cpu 2.14.1 /x', ['--torch', 'default'], 'default'),
    ('/x cp311-linux-x86_64-torch2.11.0-cpu openmmlab /x 1 2 deps-only=false', [], 'default')])
def test_an_environment_keeps_its_kind_of_torch_until_another_is_asked_for(there, asked, expected, tmp_path):
    (tmp_path / '.mmvision_mamba').write_text(there)
    assert read_script('echo $torch', '--venv', str(tmp_path), *asked).strip() == expected


def test_a_second_set_up_of_the_same_environment_waits(tmp_path):
    holder = subprocess.Popen(['flock', tmp_path, 'sleep', '3'])
    time.sleep(0.5)
    started = time.monotonic()
    (tmp_path / 'theirs').touch()  # so that it ends as soon as it has had its turn
    result = setup_env('--venv', tmp_path)
    assert time.monotonic() - started > 1.5
    assert 'another set-up is at work' in result.stdout
    holder.wait()


@pytest.mark.parametrize(('there', 'works', 'says'), [
    (True, True, ''), (False, True, '[setup] chromium and'), (False, False, 'chromium could not be installed')])
def test_the_browser_is_installed_where_it_is_missing_and_nothing_fails_without_it(there, works, says, tmp_path):
    text = SCRIPT.read_text()
    function = text[text.index('install_browser() {'):text.index('! $dev || $deps_only')]
    for name in ['chromium', 'chromedriver'] * there:
        (tmp_path / name).write_text('#!/bin/sh\n')
    (tmp_path / 'apt-get').write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\nexit {int(not works)}\n')
    (tmp_path / 'id').write_text('#!/bin/sh\necho 0\n')
    for path in tmp_path.iterdir():
        path.chmod(0o755)
    result = subprocess.run(['/bin/bash', '-euo', 'pipefail', '-c',
                             f'say() {{ echo "[setup] $*"; }}; venv={tmp_path}\n{function}\ninstall_browser; echo end'],
                            env={'PATH': str(tmp_path)}, capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.endswith('end\n'), result.stderr
    assert says in result.stdout
    assert (tmp_path / 'asked').exists() != there
    if works and not there:
        assert 'install --no-install-recommends chromium chromium-driver' in (tmp_path / 'asked').read_text()
