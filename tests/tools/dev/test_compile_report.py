import json
import os
import subprocess
import sys

import pytest

from ...helpers import ROOT

pytest.importorskip('triton')


def run(*arguments, **environment):
    environment = {k: v for k, v in os.environ.items() if k != 'TRITON_INTERPRET'} | environment
    return subprocess.run([sys.executable, 'tools/dev/compile_report.py', *arguments], cwd=ROOT, env=environment,
                          capture_output=True, text=True)


@pytest.mark.parametrize(('kernel', 'variant'), [('sum_blocks', 'fp32, 8 states'),
                                                 ('conv_forward', 'bf16, 160 channels, 3 taps')])
def test_reports_what_a_kernel_needs(tmp_path, kernel, variant):
    result = run('--kernels', kernel, '--variants', variant, '--targets', '90', '--out',
                 str(tmp_path / 'report.json'), PYTHONPATH=str(ROOT))
    assert result.returncode == 0, result.stdout + result.stderr
    [row] = json.loads((tmp_path / 'report.json').read_text())
    assert row['kernel'] == kernel and row['target'] == 'sm_90'
    assert 0 < row['registers'] <= 128 and row['spilled'] == 0
    assert f'{row["registers"]:>11}' in result.stdout


def test_refuses_the_interpreter_and_unknown_kernels():
    for arguments, environment, message in (((), dict(TRITON_INTERPRET='1'), 'unset TRITON_INTERPRET'),
                                            (('--kernels', 'nothing'), {}, 'has that name')):
        result = run(*arguments, PYTHONPATH=str(ROOT), **environment)
        assert result.returncode == 1 and message in result.stderr
