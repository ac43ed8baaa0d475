"""tools/dist_*.sh hand everything on to torchrun."""
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path):
    """Run a script from a folder that is not the project's, with a torchrun that prints its arguments, one a line."""
    torchrun = tmp_path / 'bin/torchrun'
    torchrun.parent.mkdir()
    torchrun.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    torchrun.chmod(0o755)

    def run(name, *arguments, **environment):
        path = f'{torchrun.parent}:{os.environ["PATH"]}'
        return subprocess.run([ROOT / 'tools' / name, *arguments], cwd=tmp_path, capture_output=True, text=True,
                              env=os.environ | {'PATH': path} | environment)
    return run


def pairs(lines: list[str]) -> dict[str, str]:
    return {a: b for a, b in pairwise(lines) if a.startswith('--')}


def test_train(run):
    lines = run('dist_train.sh', 'my configs/a.py', '4', '--amp', '--work-dir', 'out dir').stdout.splitlines()
    script = lines.index(f'{ROOT}/tools/train.py')
    assert pairs(lines[:script]) == {'--nnodes': '1', '--node-rank': '0', '--master-addr': '127.0.0.1',
                                     '--master-port': '29500', '--nproc-per-node': '4', '--max-restarts': '3'}
    assert lines[script + 1:] == ['my configs/a.py', '--launcher', 'pytorch', '--amp', '--work-dir', 'out dir']


def test_test(run):
    lines = run('dist_test.sh', 'a.py', 'best.pth', '2', '--tta').stdout.splitlines()
    script = lines.index(f'{ROOT}/tools/test.py')
    assert lines[script + 1:] == ['a.py', 'best.pth', '--launcher', 'pytorch', '--tta']


def test_several_machines(run):
    lines = run('dist_train.sh', 'a.py', '8', NNODES='2', NODE_RANK='1', PORT='1234', MASTER_ADDR='host').stdout.split()
    assert pairs(lines).items() >= {'--nnodes': '2', '--node-rank': '1', '--master-addr': 'host',
                                    '--master-port': '1234', '--nproc-per-node': '8'}.items()


@pytest.mark.parametrize(('name', 'arguments'), [
    ('dist_train.sh', []),
    ('dist_train.sh', ['a.py']),
    ('dist_train.sh', ['a.py', '--amp']),
    ('dist_train.sh', ['a.py', '0']),
    ('dist_test.sh', ['a.py', 'best.pth']),
    ('dist_test.sh', ['a.py', '', '2']),
])
def test_usage(run, name, arguments):
    result = run(name, *arguments)
    assert result.returncode == 2 and result.stdout == ''
    assert result.stderr.startswith('usage: ') and result.stderr.count('\n') == 1


def test_torchrun_knows_these_options():
    command = [sys.executable, '-m', 'torch.distributed.run', '--help']
    usage = subprocess.run(command, capture_output=True, text=True).stdout
    for option in ('--nnodes', '--node-rank', '--master-addr', '--master-port', '--nproc-per-node', '--max-restarts'):
        assert option in usage
