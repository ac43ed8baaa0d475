"""Runs that are killed with SIGKILL, anywhere, lose nothing."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def series(folder, kills):
    environment = {**os.environ, 'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}', 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, ROOT / 'tests/engine/kill_series.py', folder, str(kills)], cwd=ROOT,
                          env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    print(result)
    assert result['kills'] == kills
    assert not result['lost'], '\n'.join(result['lost'])
    return result


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_run_killed_sixty_times(tmp_path):
    result = series(tmp_path, 60)
    assert min(result['during_save'], result['during_validation'], result['between']) >= 5
    assert result['part_files_left'] > 0, 'none was caught while it wrote'
