"""The tools that draw, run as a user does: curves, what the pipeline feeds, confusion; the web page."""
import json
from pathlib import Path

import cv2
import pytest
import torch

from mmvision_mamba.commands import demo_app


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
    for many in (('-n', 301), ('-n', 151, '--columns', 1), ('--columns', 21)):
        assert 'a picture has room for 300 images' in fails('browse_dataset', configs.detector, *many)
    assert 'expected the name of a picture' in fails('browse_dataset', configs.detector, '--out', '.', *options)
    result = tool('browse_dataset', configs.detector, '-n', 0)
    assert result.code == 2 and '-n/--show-number' in result.err


@pytest.mark.parametrize('kind', ['detector', 'segmentor'])
def test_confusion(kind, tool, fails, configs, shapes, tmp_path):
    from mmengine.config import Config
    from mmengine.registry import MODELS, init_default_scope
    cfg = Config.fromfile(getattr(configs, kind))
    init_default_scope(cfg.default_scope)
    checkpoint = tmp_path / 'model.pth'
    torch.save(dict(state_dict=MODELS.build(cfg.model).state_dict()), checkpoint)
    options = ('--work-dir', tmp_path / 'wd', '--cfg-options', f'data_root={shapes}')

    result = tool('confusion', getattr(configs, kind), checkpoint, *options)
    assert result.code == 0, result.err[-3000:]
    out = tmp_path / 'wd' / 'confusion'
    assert is_picture(out / 'confusion_matrix.png') and is_picture(out / 'per_class.png')
    found = json.loads((out / 'confusion.json').read_text())
    metrics = json.loads((tmp_path / 'wd' / 'metrics.json').read_text())
    values = [v for v in found['per_class']['box AP' if kind == 'detector' else 'IoU'] if v is not None]
    mean = sum(values) / len(values)
    if kind == 'detector':
        assert set(found['per_class']) == {'box AP', 'mask AP'}
        assert mean == pytest.approx(metrics['coco/bbox_mAP'], abs=1e-3)
        assert len(found['counts']) == 4 and len(found['classes']) == 3
    else:
        assert 100 * mean == pytest.approx(metrics['mIoU'], abs=0.01)
        assert sum(map(sum, found['counts'])) == 3 * 64 * 64

    # From the predictions it kept, without the model
    kept = out / ('predictions.pkl' if kind == 'detector' else 'predictions')
    result = tool('confusion', getattr(configs, kind), kept, '--out-dir', tmp_path / 'again', *options)
    assert result.code == 0, result.err[-3000:]
    assert json.loads((tmp_path / 'again' / 'confusion.json').read_text()) == found

    options = ('--work-dir', tmp_path / 'wd2', *options[2:])
    other = configs.segmentor if kind == 'detector' else configs.detector
    assert 'error: ' in fails('confusion', other, kept, *options), 'predictions of another kind of model'
    assert 'checkpoint not found' in fails('confusion', getattr(configs, kind), 'nowhere.pth', *options)
    assert 'nowhere.pkl' in fails('confusion', getattr(configs, kind), 'nowhere.pkl', *options)


def test_models_of_one_task_have_names_of_their_own():
    """The page has them all, where they are files of several formats, too."""
    taken = {}
    for path in ('a/m.onnx', 'a/m.onnx', 'a/m.xml', 'b/m.xml', 'c/m.xml', 'n.py'):
        taken[demo_app._name('Instances', Path(path), taken)] = path
    assert list(taken) == ['Instances', 'Instances: m', 'Instances: m.xml', 'Instances: m.xml (2)',
                           'Instances: m.xml (3)', 'Instances: n']


def test_demo_app(fails, configs):
    pytest.importorskip('gradio')
    assert 'expected its checkpoint after it' in fails('demo_app', configs.detector)
    assert 'config file not found: nowhere.py' in fails('demo_app', 'nowhere.py', 'x.pth')
    assert 'x.pth' in fails('demo_app', configs.segmentor, 'x.pth')
    for option, value in (('--port', '-1'), ('--port', '65536'), ('--max-megabytes', 'nan'),
                          ('--max-megapixels', 'inf'), ('--max-megapixels', '-5'), ('--score-thr', 'nan')):
        assert f'{option}: expected a number from ' in fails('demo_app', configs.segmentor, 'x.pth', option, value)
    assert '--score-thr' in fails('demo_app', configs.segmentor, 'x.pth', '--score-thr', '30')
