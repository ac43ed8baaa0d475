import subprocess
import sys

import cv2
import pytest

from ..helpers import ROOT

TOOL = ROOT / 'tools' / 'make_shapes.py'


def run(*args, cwd):
    return subprocess.run([sys.executable, TOOL, *map(str, args)], cwd=cwd, capture_output=True, text=True)


def test_makes_the_layout_from_any_folder(tmp_path):
    done = run('shapes', '--train', 3, '--val', 2, '--seed', 7, '--size', 48, 64, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    files = {str(p.relative_to(tmp_path / 'shapes')) for p in (tmp_path / 'shapes').rglob('*') if p.is_file()}
    assert files == {'shapes.json', 'annotations/instances_train.json', 'annotations/instances_val.json',
                     *(f'{folder}train/00000{i}.png' for folder in ('', 'semantic/') for i in range(3)),
                     *(f'{folder}val/00000{i}.png' for folder in ('', 'semantic/') for i in range(2))}
    assert cv2.imread(str(tmp_path / 'shapes/val/000001.png')).shape == (48, 64, 3)
    again = run('shapes', '--train', 3, '--val', 2, '--seed', 7, '--size', 48, 64, cwd=tmp_path)
    assert again.returncode == 0
    assert 'there already' in again.stdout


@pytest.mark.parametrize('args, named', [
    (['--train', -3], 'train must be at least 1, got -3'),
    (['--seed', -1], 'seed must be at least 0'),
    (['--size', 16], 'size must be between'),
    (['--size', 64, 64, 3], '--size'),
    (['--val', 'many'], '--val'),
])
def test_wrong_input_is_named_in_two_lines(args, named, tmp_path):
    done = run('shapes', *args, cwd=tmp_path)
    assert done.returncode == 2
    assert named in done.stderr
    assert 'Traceback' not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_folder_with_other_content_is_left_alone(tmp_path):
    (tmp_path / 'mine.txt').write_text('keep me')
    done = run(tmp_path, '--train', 1, '--val', 1, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f'error: {tmp_path} exists')
    assert len(done.stderr.splitlines()) == 1
    assert [p.name for p in tmp_path.iterdir()] == ['mine.txt']
