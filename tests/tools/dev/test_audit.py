"""The audit reports, and never fails."""
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from ...helpers import ROOT
from ...helpers.scripts import load_script

audit = load_script('audit')


@pytest.fixture
def pip_audit(monkeypatch):
    """pip_audit(stdout, stderr) is what the program will say."""
    monkeypatch.setattr(audit, 'find_spec', lambda name: name)

    def says(stdout='', stderr=''):
        monkeypatch.setattr(subprocess, 'run', lambda *a, **k: SimpleNamespace(stdout=stdout, stderr=stderr))
        return audit.audit([])
    return says


def test_report(pip_audit):
    report = pip_audit(json.dumps(dict(dependencies=[
        dict(name='good', version='1', vulns=[]),
        dict(name='bad', version='2', vulns=[dict(id='PYSEC-1', aliases=['CVE-1'], fix_versions=['3'])]),
        dict(name='mmcv', skip_reason='not on PyPI')])))
    assert report.splitlines() == ['2 packages looked up, 1 known vulnerabilities.',
                                   '  bad 2: PYSEC-1, CVE-1; fixed in 3', 'Not in the database: mmcv.']


def test_no_report(pip_audit, monkeypatch):
    assert 'can not be reached (ERROR: ConnectionError: x)' in pip_audit(stderr='…\nERROR: ConnectionError: x')
    assert 'knows none of the packages' in pip_audit(json.dumps(dict(dependencies=[dict(name='a', skip_reason='b')])))
    assert 'pip-audit failed (no reason given)' in pip_audit()

    def late(*args, **kwargs):
        raise subprocess.TimeoutExpired('pip-audit', 900)
    monkeypatch.setattr(subprocess, 'run', late)
    assert 'did not answer' in audit.audit([])
    monkeypatch.setattr(audit, 'find_spec', lambda name: None)
    assert "pip install 'mmvision-mamba[dev]'" in audit.audit([])


def test_command(shell):
    result = shell(sys.executable, ROOT / 'tools/dev/audit.py', '--help')
    assert result.returncode == 0 and 'A report, not a gate' in result.stdout
