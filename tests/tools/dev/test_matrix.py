"""Rows that can be chosen, results that are kept, and the page that shows them."""
import json
import subprocess
import sys

import pytest

from ...helpers import ROOT
from ...helpers.scripts import load_script

matrix = load_script('matrix')


def result(passed, **versions):
    versions = dict(dict(python='3.10.13', torch='2.4.1', numpy='1.26.4'), **versions)
    return dict(date='2026-01-02', versions=versions, passed=passed, skipped=2, failed=[], seconds=9)


def test_the_page_shows_the_recorded_results():
    page = (ROOT / 'docs/compatibility.md').read_text()
    results = json.loads((ROOT / 'docs/results/compatibility.json').read_text())
    assert matrix.fill(page, results) == page
    assert results.keys() <= matrix.ROWS.keys()


def test_a_row_takes_the_place_of_its_earlier_result(tmp_path, monkeypatch):
    monkeypatch.setattr(matrix, 'ROOT', tmp_path)
    page = tmp_path / 'docs/compatibility.md'
    page.parent.mkdir()
    page.write_text(f'before\n{matrix.BEGIN}{matrix.END}after\n')
    matrix.record('newest', result(5))
    matrix.record('oldest', result(7, **{'mmcv-lite': '2.1.0'}))
    matrix.record('newest', result(6, **{'onedl-mmcv': '2.3.6'}))
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in page.read_text().splitlines() if '|' in line]
    shown = [(row[0], row[7], row[10]) for row in rows[2:]]
    assert shown == [('oldest', '2.1.0 (lite)', '7'), ('newest', '2.3.6', '6')]
    assert page.read_text().startswith('before\n') and page.read_text().endswith('after\n')


def test_an_environment_that_is_there(tmp_path, monkeypatch, capsys):
    """It is run and kept; other tests than the usual ones leave the page alone."""
    (tmp_path / 'bin').mkdir()
    python = tmp_path / 'bin/python'
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(matrix, 'record', lambda *_: pytest.fail('recorded'))
    (tmp_path / 'test_it.py').write_text('import pytest\ndef test_a(): pass\n@pytest.mark.skip\ndef test_b(): pass\n'
                                         'def test_c(): assert 0\n')
    assert matrix.main(['oldest', '--environment', f'oldest={tmp_path}', '--tests', str(tmp_path / 'test_it.py')]) == 1
    assert 'oldest: 1 passed, 1 skipped, 1 failed' in capsys.readouterr().out and python.exists()


def test_unknown_rows():
    run = subprocess.run([sys.executable, 'tools/dev/matrix.py', 'odlest'], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 2 and "no row 'odlest'; there are: oldest," in run.stderr


def test_the_tests_are_there():
    assert all((ROOT / path.partition('::')[0]).exists() for path in matrix.TESTS)
