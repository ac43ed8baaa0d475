"""The report on an installation: whole ones, and ones with packages that fail, crash and are missing."""
import os
import re
import subprocess
import sys

import pytest

from ..helpers import ROOT
from ..helpers.fake_site import distribution, mmcv_lite


def doctor(*arguments, **environment) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], cwd='/', capture_output=True, text=True, timeout=280,
                          env=os.environ | {'PYTHONPATH': str(ROOT)} | environment)


def test_a_working_installation():
    pytest.importorskip('mmdet')
    pytest.importorskip('mmseg')
    done = doctor('-m', 'mmvision_mamba', 'doctor')
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (r'^mmvision_mamba +\d', r'^  torch +2\.', r'^  mmcv +\d\S+', r'^  chunked +works$', r'^No problems$'):
        assert re.search(line, done.stdout, re.MULTILINE), line
    assert max(map(len, done.stdout.splitlines())) < 160 and done.stderr == ''


def test_packages_that_raise_and_crash(tmp_path):
    forged = ''.join(f'print("mmvision-mamba probe: {text}", flush=True); ' for text in ('{', '5', '{}', "{'x': 5}"))
    for name, code in (('mmdet', f'{forged}import os; os._exit(3)'),
                       ('mmseg', 'raise AssertionError("MMCV==2.2.0 is used but incompatible. Please install '
                        'mmcv>=2.0.0rc4.")')):
        (tmp_path / name / 'models').mkdir(parents=True)
        (tmp_path / name / '__init__.py').write_text(code + '\n')
    done = doctor('-m', 'mmvision_mamba', 'doctor', PYTHONPATH=os.pathsep.join((str(tmp_path), str(ROOT))))
    assert done.returncode == 1 and done.stderr == ''
    told = done.stdout.partition('\nProblems: detectors and segmentors can not be trained or tested\n')[2]
    assert 'import mmdet.models ends the process with code 3' in told
    assert 'mmcv 2.2.0 is installed, which mmseg does not take' in told
    assert len(re.findall(r'^  \d\. ', told, re.MULTILINE)) == 2
    assert re.search(r'^  mmdet .* BROKEN', done.stdout, re.MULTILINE)


def test_it_reports_where_nothing_is_installed(tmp_path):
    mmcv_lite(tmp_path)
    distribution(tmp_path, 'mmcv', '2.1.0')
    done = doctor('-I', '-S', '-c', f'import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]\n'
                  'from mmvision_mamba.commands import main; sys.exit(main("doctor", []))')
    assert done.returncode == 1 and done.stderr == '', done.stderr
    assert re.search(r'^  torch +not installed$', done.stdout, re.MULTILINE)
    assert 'pip uninstall -y mmcv mmcv-lite && pip install' in done.stdout
    assert re.search(r"torch is not installed\.\n +pip install 'torch", done.stdout)


def test_what_follows_from_a_missing_package_is_not_mended_by_itself(tmp_path):
    mmcv_lite(tmp_path)
    (tmp_path / 'mmcv/__init__.py').write_text('import mmengine\n')
    done = doctor('-I', '-S', '-c', f'import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]\n'
                  'from mmvision_mamba.commands import main; sys.exit(main("doctor", []))')
    assert 'the training of detectors and segmentors needs packages' in done.stdout
    assert 'force-reinstall mmcv-lite' not in done.stdout, done.stdout
