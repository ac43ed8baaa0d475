import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from ..helpers import ROOT

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

TOOL = ROOT / 'tools' / 'demo.py'


@pytest.mark.timeout(900)  # a minute or two; far more on a busy machine
def test_quick_demo_runs_every_step_and_reports(tmp_path):
    done = subprocess.run([sys.executable, TOOL, '--quick', '--work-dir', 'demo', '--seed', '5'], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for step in ('data', 'detector training', 'detector test', 'segmentor training', 'segmentor test', 'drawing'):
        assert f'[{step}]\n' in done.stdout
    for row in ('box AP', 'mask AP', 'mIoU', 'total'):
        assert f'\n{row} ' in done.stdout
    assert 'eta' in done.stdout

    work_dir = tmp_path / 'demo'
    summary = json.loads((work_dir / 'summary.json').read_text())
    assert all(Path(path).exists() for path in summary['files'].values())
    assert set(summary['metrics']) == {'box AP', 'mask AP', 'mIoU'}
    assert summary['training']['detector']['iterations'] == 2
    assert 0 < summary['training']['segmentor']['data_seconds'] < summary['training']['segmentor']['seconds']
    picture = cv2.imread(str(work_dir / 'truth_and_prediction.png'))
    assert picture.shape[0] > 800 and picture.shape[1] > 800
    assert picture.std() > 30  # something is drawn
    assert {p.name for p in work_dir.glob('*/metrics.json')} == {'metrics.json'}


def test_a_failing_step_ends_the_demo_with_its_message(tmp_path):
    done = subprocess.run([sys.executable, TOOL, '--seed', '-1', '--work-dir', tmp_path / 'demo'],
                          capture_output=True, text=True)
    assert done.returncode == 2
    assert 'seed must be at least 0' in done.stderr
    assert 'Traceback' not in done.stderr
