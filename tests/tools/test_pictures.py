"""The tools that draw, run as a user does: curves, what the pipeline feeds, confusion."""
import json

import cv2
import pytest


def is_picture(path):
    return cv2.imread(str(path)).std() > 5


@pytest.fixture
def fails(tool, tmp_path):
    def run(name, *arguments):
        before = set(tmp_path.rglob('*'))
        result = tool(name, *arguments)
        assert result.code == 2 and 'Traceback' not in result.err, result.err[-3000:]
        assert set(tmp_path.rglob('*')) == before, 'half-written'
        return result.err[result.err.index('error: '):]
    return run


def test_plot_curves(tool, fails, tmp_path):
    for name in ('a', 'b'):
        path = tmp_path / name / 'x run' / '20260101_000000' / 'vis_data' / 'scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text(''.join(json.dumps(dict(loss=1 / i, lr=0.1, iter=i, step=i)) + '\n' for i in range(1, 9)))
    runs = [tmp_path / name / 'x run' for name in ('a', 'b')]
    result = tool('plot_curves', *runs, '--out', 'pictures/c.png', '--title', 'two runs')
    assert result.code == 0 and 'curves: pictures/c.png' in result.out, result.err
    assert is_picture(tmp_path / 'pictures' / 'c.png')
    assert 'no such file or folder' in fails('plot_curves', 'nowhere')
    assert '--legend: 1 names for 2 logs' in fails('plot_curves', *runs, '--legend', 'a')
    assert 'expected the name of a picture' in fails('plot_curves', runs[0], '--out', 'curves.gif')
    assert '/proc/nowhere/c.png can not be written' in fails('plot_curves', runs[0], '--out', '/proc/nowhere/c.png')


def test_browse_dataset(tool, fails, configs, shapes, tmp_path):
    options = ('--cfg-options', f'data_root={shapes}')
    result = tool('browse_dataset', configs.detector, '-n', 4, '--out', 'd.png', *options)
    assert result.code == 0 and '4 images: d.png' in result.out, result.err
    result = tool('browse_dataset', configs.segmentor, '--phase', 'val', '--out', 's.jpg', *options)
    assert result.code == 0 and '3 images: s.jpg' in result.out, 'all there are'
    assert is_picture(tmp_path / 'd.png') and is_picture(tmp_path / 's.jpg')
    assert 'config file not found' in fails('browse_dataset', 'nowhere.py')
    assert '/nowhere' in fails('browse_dataset', configs.detector, '--cfg-options', 'data_root=/nowhere')
    assert 'expected the name of a picture' in fails('browse_dataset', configs.detector, '--out', '.', *options)
    result = tool('browse_dataset', configs.detector, '-n', 0)
    assert result.code == 2 and '-n/--show-number' in result.err
