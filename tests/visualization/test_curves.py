"""Curves from mmengine's scalars.json: where the points lie, resumed runs, and what wrong input gets."""
import json

import cv2
import pytest

pytest.importorskip('mmengine')

from mmvision_mamba.errors import ConfigError, DataError
from mmvision_mamba.visualization.curves import draw_curves, read_run


def train(step, loss=1., **more):
    return dict(loss=loss, loss_cls=loss / 2, loss_bbox=loss / 2, lr=0.1, iter=step, step=step, **more)


def log(work_dir, time, records, end=''):
    path = work_dir / time / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text(''.join(json.dumps(record) + '\n' for record in records) + end)
    return path


@pytest.mark.parametrize('which', ['.', '20260101_000000', '20260101_000000/vis_data',
                                   '20260101_000000/vis_data/scalars.json'])
def test_all_names_of_a_run(which, tmp_path):
    wd = tmp_path / 'my run'
    log(wd, '20260101_000000', [train(10, 3.), train(20, 2.), dict(mIoU=40., step=20)])
    run = read_run(wd / which)
    assert run.name == 'my run'
    assert run.train['loss'] == [(10, 3.), (20, 2.)] and run.val == {'mIoU': [(20, 40.)]}
    assert read_run(wd / which, 'other').name == 'other'


def test_a_resumed_run_is_one(tmp_path):
    """It stopped at 40 and went on from the checkpoint of 20; a test between writes no curve."""
    log(tmp_path, '20260101_000000', [train(10, 4.), train(20, 3.), dict(mIoU=1., step=20), train(30, 9.),
                                      train(40, 9.), dict(mIoU=9., step=40)])
    (tmp_path / '20260102_000000/vis_data').mkdir(parents=True)
    log(tmp_path, '20260103_000000', [train(30, 2.), train(40, 1.), dict(mIoU=2., step=40)])
    run = read_run(tmp_path)
    assert run.train['loss'] == [(10, 4.), (20, 3.), (30, 2.), (40, 1.)]
    assert run.val['mIoU'] == [(20, 1.), (40, 2.)]


def test_validations_counted_in_epochs_or_not_at_all(tmp_path):
    log(tmp_path / 'a', '1', [train(50, epoch=1), train(100, epoch=1), dict(mAP=.1, step=1), train(150, epoch=2),
                              train(200, epoch=2), dict(mAP=.2, step=2)])
    assert read_run(tmp_path / 'a').val['mAP'] == [(100, .1), (200, .2)]
    # mmengine's iteration-based loop with log_metric_by_epoch
    log(tmp_path / 'b', '1', [train(50), dict(mAP=.1, step=0), train(100), dict(mAP=.2, step=0)])
    assert read_run(tmp_path / 'b').val['mAP'] == [(50, .1), (100, .2)]
    # validated between two logged iterations
    log(tmp_path / 'c', '1', [train(50), dict(mIoU=10., step=75), train(100)])
    assert read_run(tmp_path / 'c').val['mIoU'] == [(75, 10.)]
    # one iteration an epoch
    log(tmp_path / 'd', '1', [train(1, epoch=1), dict(mAP=.1, step=1), train(2, epoch=2), dict(mAP=.2, step=2)])
    assert read_run(tmp_path / 'd').val['mAP'] == [(1, .1), (2, .2)]


def test_a_line_cut_off_at_the_end_is_left_out(tmp_path):
    path = log(tmp_path, '1', [train(10)], end='{"loss": 0.')
    assert read_run(path).train['loss'] == [(10, 1.)]


def test_wrong_input(tmp_path, monkeypatch):
    with pytest.raises(DataError, match='no such file or folder'):
        read_run(tmp_path / 'nowhere')
    with pytest.raises(DataError, match='this is no work directory'):
        read_run(tmp_path)
    with monkeypatch.context() as patched, pytest.raises(DataError, match=r'can not be read: Permission denied$'):
        patched.setattr('os.listdir', lambda path: (_ for _ in ()).throw(PermissionError(13, 'Permission denied')))
        read_run(tmp_path)
    log(tmp_path / 'all' / 'a', '1', [train(10)])
    with pytest.raises(DataError, match=f'name the runs themselves: {tmp_path}/all/a$'):
        read_run(tmp_path / 'all')
    (tmp_path / 'x.json').write_text('hello\n')
    with pytest.raises(DataError, match=r'x.json: line 1 is not JSON'):
        read_run(tmp_path / 'x.json')
    (tmp_path / 'x.json').write_bytes(b'\xff\xfe\x00')
    with pytest.raises(DataError, match=r'x.json can not be read'):
        read_run(tmp_path / 'x.json')
    (tmp_path / 'x.json').write_text('{"coco/bbox_mAP": 0.5}\n')  # what a test writes
    with pytest.raises(DataError, match='no curves are logged there'):
        read_run(tmp_path / 'x.json')


def panels(monkeypatch, tmp_path, runs, **options):
    """{title: {label of the line: its points}} of the figure."""
    from matplotlib.figure import Figure
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, 'savefig', lambda self, *args, **kw: (drawn.append(self), save(self, *args, **kw)))
    draw_curves(tmp_path / 'out.png', runs, **options)
    monkeypatch.undo()
    assert cv2.imread(str(tmp_path / 'out.png')).std() > 5
    return {axis.get_title(): {line.get_label(): list(zip(*line.get_data())) for line in axis.lines}
            for axis in drawn[0].axes if axis.get_visible()}


@pytest.fixture
def runs(tmp_path):
    log(tmp_path / 'det', '1', [train(10, 3.), dict({'coco/bbox_mAP': .25, 'coco/segm_mAP': -1., 'time': 1}, step=10),
                                train(20, float('nan')), dict({'coco/bbox_mAP': .125, 'coco/segm_mAP': .5}, step=20)])
    log(tmp_path / 'seg', '1', [dict(train(15, 2.), **{'decode.loss_ce': 1}), dict(mIoU=40., mAcc=50., step=15)])
    return [read_run(tmp_path / name) for name in ('det', 'seg')]


def test_panels_of_one_run(runs, monkeypatch, tmp_path):
    drawn = panels(monkeypatch, tmp_path, runs[:1])
    assert list(drawn) == ['loss', 'parts of the loss', 'learning rate', 'average precision']
    assert drawn['loss']['loss'][0] == (10, 3)
    assert set(drawn['parts of the loss']) == {'loss_cls', 'loss_bbox'}
    assert drawn['average precision']['coco/bbox_mAP, best 0.25 at 10'] == [(10, .25), (20, .125)]
    assert 'coco/segm_mAP, best 0.5 at 20' in drawn['average precision'], "COCO's -1 is no value"


def test_panels_of_a_detector_beside_a_segmentor(runs, monkeypatch, tmp_path):
    drawn = panels(monkeypatch, tmp_path, runs)
    assert list(drawn) == ['loss', 'learning rate', 'average precision', 'segmentation (%)']
    assert set(drawn['loss']) == {'det', 'seg'}
    assert list(drawn['segmentation (%)']) == ['seg: mIoU, best 40 at 15']


def test_the_loss_of_validation_is_drawn_beside_the_trainings(monkeypatch, tmp_path):
    """Less is better."""
    log(tmp_path / 'det', '1', [train(10, 3.), {'coco/bbox_mAP': .25, 'val/loss': 2., 'val/loss_cls': 1., 'step': 10},
                                train(20, 1.), {'coco/bbox_mAP': .5, 'val/loss': 4., 'val/loss_cls': 3., 'step': 20}])
    drawn = panels(monkeypatch, tmp_path, [read_run(tmp_path / 'det')])
    assert drawn['loss'] == {'loss': [(10, 3), (20, 1)], 'val/loss, best 2 at 10': [(10, 2), (20, 4)]}


def test_keys(runs, monkeypatch, tmp_path):
    assert list(panels(monkeypatch, tmp_path, runs, keys=['loss_cls', 'mAcc'])) == ['loss_cls', 'mAcc']
    with pytest.raises(ConfigError, match='--keys: not logged: los; there are coco/bbox_mAP, '):
        draw_curves(tmp_path / 'x.png', runs, keys=['los'])
    assert not (tmp_path / 'x.png').exists()


@pytest.mark.parametrize(('text', 'words'), [
    ('{"loss":' + '[' * 100_000, 'line 1 is not JSON'),
    ('{"loss":' + '9' * 5000 + ', "step": 1}', 'line 1 is not JSON'),
    ('{"loss": 1, "step": NaN}', 'no curves'), ('{"loss": 1, "step": 1e999}', 'no curves'),
    ('{"loss": 1, "step": 1' + '0' * 400 + '}', 'no curves'), ('{"coco/bbox_mAP": "x", "step": 1}', '0 panels'),
    ('\n'.join(f'{{"metric_{i}": 1, "step": {i}}}' for i in range(3000)), '3000 panels would be drawn'),
    (json.dumps({'loss': 1, 'iter': 1, 'step': 1} | {f'loss_{i}': 1 for i in range(9000)}),
     '9001 lines would be drawn')])
def test_logs_that_can_not_be_drawn(text, words, tmp_path):
    (tmp_path / 'x.json').write_text(text)
    with pytest.raises((DataError, ConfigError), match=words) as error:
        draw_curves(tmp_path / 'x.png', [read_run(tmp_path / 'x.json')])
    assert len(str(error.value)) < 1000 and not (tmp_path / 'x.png').exists()


def test_values_too_large_to_draw_are_left_out(tmp_path):
    (tmp_path / 'x.json').write_text('{"loss": -1e308, "iter": 1, "step": 1}\n{"loss": 1e308, "iter": 2, "step": 2}\n'
                                     '{"loss": NaN, "iter": 3, "step": 3}\n{"loss": 2, "iter": 4, "step": 4}')
    assert [x for x, _ in read_run(tmp_path / 'x.json').train['loss']] == [3, 4]
    draw_curves(tmp_path / 'x.png', [read_run(tmp_path / 'x.json')])
