"""tools/setup_env.sh: what it refuses, in one line each, and what it leaves alone. `make env` tests the rest."""
import os
import shutil
import subprocess
import sys
import time
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
    (['--stack', 'mmlab'], "must be openmmlab or onedl, got 'mmlab'"),
    (['--venv'], '--venv needs a value'),
])
def test_wrong_arguments(arguments, words):
    assert words in refusal(setup_env(*arguments))


@pytest.mark.parametrize('version', ['(3, 9, 18)', '(3, 13, 0)'])
def test_a_python_too_old_or_too_new_is_named(version, tmp_path):
    python = tmp_path / 'python'
    python.write_text(f'#!{sys.executable}\nimport sys\nsys.version_info = {version}\nexec(sys.argv[2])\n')
    python.chmod(0o755)
    assert f'PYTHON={python} is not a Python 3.10, 3.11 or 3.12' in refusal(setup_env(PYTHON=str(python)))


def test_a_python_without_venv_is_named(tmp_path):
    python = tmp_path / 'python'
    python.write_text('#!/bin/sh\ncase $2 in *_base_executable*) echo "cp311-linux-x86_64 $0" ;; *) exit 1 ;; esac\n')
    python.chmod(0o755)
    message = refusal(setup_env('--venv', tmp_path / 'venv', PYTHON=str(python)))
    assert str(python) in message and 'python3-venv' in message


def test_the_cache_is_keyed_by_python_torch_platform_and_flavour(tmp_path):
    version = f'cp{sys.version_info.major}{sys.version_info.minor}-linux-'
    result = setup_env('--cached', '--cpu', MMVISION_MAMBA_CACHE=str(tmp_path))
    assert result.returncode == 1
    folder = Path(result.stderr.split()[-1])
    assert folder.name.startswith(version) and '-torch' in folder.name and folder.name.endswith('-cpu')

    mmcv = result.stderr.split('no mmcv ')[1].split()[0]
    folder.mkdir(parents=True)
    (folder / f'mmcv-{mmcv}-cp311-cp311-linux_x86_64.whl').touch()
    assert setup_env('--cached', '--cpu', MMVISION_MAMBA_CACHE=str(tmp_path)).returncode == 0
    assert setup_env('--cached', '--cpu', '--stack', 'onedl', MMVISION_MAMBA_CACHE=str(tmp_path)).returncode == 1


def test_cuda_wheels_are_keyed_by_architecture(tmp_path):
    nvcc = tmp_path / 'bin/nvcc'
    nvcc.parent.mkdir()
    nvcc.write_text('#!/bin/sh\necho release 13.0, V13.0.88\n')
    nvcc.chmod(0o755)
    settings = {'CUDA_HOME': str(tmp_path), 'MMVISION_MAMBA_CACHE': str(tmp_path)}
    result = setup_env('--cached', '--cuda', TORCH_CUDA_ARCH_LIST='8.0;9.0+PTX', **settings)
    assert result.stderr.rstrip().endswith('-cuda-8.0-9.0+PTX')
    nvcc.write_text('#!/bin/sh\necho release 12.6, V12.6.1\n')
    assert 'no nvcc of CUDA 13.0' in refusal(setup_env('--cuda', TORCH_CUDA_ARCH_LIST='9.0', **settings))


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / 'thesis.txt').write_text('all of it')
    assert 'name another folder' in refusal(setup_env('--venv', tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ['thesis.txt']


def test_a_half_made_environment_is_made_anew_and_no_network_is_one_line(tmp_path):
    # Script and requirements alone, as in docker/Dockerfile's first layers.
    script = tmp_path / 'tools/setup_env.sh'
    script.parent.mkdir()
    shutil.copy(SCRIPT, script)
    shutil.copytree(SCRIPT.parents[1] / 'requirements', tmp_path / 'requirements')
    venv = tmp_path / 'venv'
    (venv / 'bin').mkdir(parents=True)
    (venv / 'bin/python').write_text('interrupted')
    (venv / '.mmvision_mamba').touch()

    result = setup_env('--venv', 'venv', '--deps-only', script=script, cwd=tmp_path, **NO_INDEX)
    assert "index can't be reached" in refusal(result)
    made = subprocess.run([venv / 'bin/python', '-m', 'pip', '--version'], capture_output=True, text=True)
    assert str(venv) in made.stdout


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
    function = text[text.index('install_browser() {'):text.index('$deps_only || install_browser')]
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
