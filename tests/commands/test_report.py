"""Reports by whole commands: at the end of a training and a test, by `report`; the thresholds that `infer` takes."""
import json

import pytest

pytest.importorskip('mmdet')

from mmvision_mamba import Inferencer
from mmvision_mamba.errors import ConfigError

from ..helpers.evaluations import write_run


def report_of(folder) -> dict:
    return json.loads((folder / 'report/report.json').read_text())


@pytest.mark.parametrize('kind, key', [('detector', 'ap'), ('segmentor', 'iou')])
def test_a_training_and_a_test_end_with_their_report(kind, key, tool, configs, shapes, tmp_path):
    config, folder = getattr(configs, kind), tmp_path / 'wd'
    result = tool('train', config, '--work-dir', folder, '--cfg-options', f'data_root={shapes}')
    assert result.code == 0, result.err[-3000:]
    assert f'report: {folder}/report/index.html' in result.out
    best, = folder.glob('best_*.pth')
    report = report_of(folder)
    assert report['evaluation']['checkpoint'] == best.name and report['evaluation']['split'] == 'val'
    assert report['evaluation']['analysis']['images'] == 3 and report['run']['iterations'] == 4
    assert report['run']['data']['train']['images'] == 6 and 'loss' in report['last_values']

    result = tool('test', config, best, '--work-dir', folder, '--cfg-options', f'data_root={shapes}')
    assert result.code == 0, result.err[-3000:]
    metrics, report = json.loads((folder / 'metrics.json').read_text()), report_of(folder)
    overall = report['evaluation']['analysis']['overall']
    assert report['evaluation']['split'] == 'test' and report['metrics'] == pytest.approx(metrics, nan_ok=True)
    reference = metrics['coco/segm_mAP'] if kind == 'detector' else metrics['mIoU'] / 100
    assert overall[key] == pytest.approx(reference, abs=1e-4), 'pycocotools and mmseg measure the same'
    if kind == 'detector' and overall['best']:
        assert {name: metrics[f'threshold/{name}'] for name in overall['best']} == pytest.approx(overall['best'])
    assert (folder / 'report/index.html').read_text().count('data:image/jpeg') >= 4

    result = tool('report', folder, '--out-dir', tmp_path / 'elsewhere')
    assert result.code == 0 and (tmp_path / 'elsewhere/index.html').is_file()
    assert json.loads((tmp_path / 'elsewhere/report.json').read_text())['findings'] == report['findings']


def test_no_report_keeps_nothing(tool, configs, shapes, tmp_path):
    result = tool('train', configs.segmentor, '--work-dir', tmp_path / 'wd', '--no-report', '--cfg-options',
                  f'data_root={shapes}', 'train_cfg.max_iters=1', 'train_cfg.val_interval=1')
    assert result.code == 0, result.err[-3000:]
    assert not (tmp_path / 'wd/report').exists() and 'index.html' not in result.out


def test_a_report_that_fails_is_a_line_and_fails_no_training(tool, configs, shapes, tmp_path):
    (tmp_path / 'wd').mkdir()
    (tmp_path / 'wd/report').write_text('a file in its place')
    result = tool('train', configs.segmentor, '--work-dir', tmp_path / 'wd', '--cfg-options', f'data_root={shapes}',
                  'train_cfg.max_iters=1', 'train_cfg.val_interval=1')
    assert result.code == 0, result.err[-3000:]
    assert 'no report is made' in result.out + result.err and 'Traceback' not in result.out + result.err


def test_comparisons_and_what_can_not_be_reported(tool, tmp_path):
    folders = [write_run(tmp_path / 'a'), write_run(tmp_path / 'b', seed=2)]
    result = tool('report', *folders, '--out-dir', tmp_path / 'both')
    assert result.code == 0 and (tmp_path / 'both/index.html').is_file(), result.err
    (tmp_path / 'empty').mkdir()
    result = tool('report', tmp_path / 'empty')
    assert result.code == 2 and len(result.errors) == 1 and 'no work directory of a run' in result.errors[0]
    result = tool('report', folders[0], '--out-dir', folders[0] / 'run.py')
    assert result.code == 2 and len(result.errors) == 1 and 'can not be written there' in result.errors[0]


@pytest.mark.parametrize('exported', [False, True])
def test_batches_keep_what_is_above_the_thresholds_of_the_report(exported, tool, model_files, request, shapes,
                                                                 tmp_path):
    files, folder = model_files.detector, tmp_path / 'run'
    (folder / 'report').mkdir(parents=True)
    source = request.getfixturevalue('exported_files')['detector.onnx'] if exported else files.checkpoint
    model = folder / source.name
    model.write_bytes(source.read_bytes())
    inputs = [*([] if exported else [files.config]), model, shapes / 'val', '--format', 'coco']

    def results(*options, out):
        run = tool('batch_infer', *inputs, '--out', out, *options)
        assert run.code == 0, run.err
        return [(one['image_id'], one['category_id'], one['score']) for one in json.loads(
            (tmp_path / out / 'results.json').read_text())], run

    def report(ellipse):
        (folder / 'report/report.json').write_text(json.dumps(dict(
            classes=['ellipse', 'rectangle', 'triangle'], thresholds=dict(all=middle, classes=dict(ellipse=ellipse)),
            evaluation=dict(split='test', checkpoint='other.onnx' if exported else 'other.pth', iteration=0))))
    whole, _ = results(out='all')
    middle = sorted(score for _, _, score in whole)[len(whole) // 2]
    assert results('--score-thr', middle, out='number')[0] == [one for one in whole if one[2] > middle]
    report(0.99)
    chosen, run = results('--score-thr', 'auto', out='auto')
    assert chosen == [one for one in whole if one[2] > (0.99 if one[1] == 1 else middle)] and len(chosen) > 0
    assert f'not of {model.name}, whose scores may differ' in run.out + run.err
    report(0.98)
    run = tool('batch_infer', *inputs, '--out', 'auto', '--score-thr', 'auto')
    assert run.code == 2 and 'score_thr.ellipse (0.99, now 0.98)' in run.err
    run = tool('batch_infer', *inputs, '--out', 'all', '--score-thr', '0.5')
    assert run.code == 2 and 'score_thr (' in run.err and 'now 0.5)' in run.err


def test_no_threshold_of_a_report_is_asked_for_where_there_are_no_scores(tool, model_files, shapes):
    run = tool('infer', model_files.segmentor.config, model_files.segmentor.checkpoint, shapes / 'val',
               '--score-thr', 'auto')
    assert run.code == 2 and len(run.errors) == 1 and 'label maps have no scores' in run.err


def test_the_threshold_of_the_report(model_files, tmp_path):
    files, checkpoint = model_files.detector, tmp_path / 'best.pth'
    checkpoint.write_bytes(files.checkpoint.read_bytes())
    options = dict(device='cpu', show_progress=False, score_thr='auto')
    with pytest.raises(ConfigError, match='there is no report '):
        Inferencer(files.config, checkpoint, **options)
    content = dict(classes=['ellipse', 'rectangle', 'triangle'],
                   thresholds=dict(all=0.4, classes=dict(ellipse=0.2, rectangle=0.6)))
    path = tmp_path / 'report/report.json'
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    assert Inferencer(files.config, checkpoint, **options).report_thresholds == [0.2, 0.6, 0.4]
    for broken in (dict(content, thresholds=None), dict(content, thresholds=dict(all='0.4', classes={})), [], {}):
        path.write_text(json.dumps(broken))
        with pytest.raises(ConfigError, match='recommends no thresholds'):
            Inferencer(files.config, checkpoint, **options)
    path.write_text(json.dumps(dict(content, classes=['a'])))
    with pytest.raises(ConfigError, match='of other classes'):
        Inferencer(files.config, checkpoint, **options)
    with pytest.raises(ConfigError, match="expected a number, or 'auto'"):
        Inferencer(files.config, checkpoint, device='cpu', show_progress=False, score_thr='best')
