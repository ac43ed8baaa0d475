"""Instances above the threshold of their class; whose thresholds a report has; where they mean nothing."""
import json
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip('mmengine')

from mmengine.structures import BaseDataElement, InstanceData

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.inference.report_thresholds import above, check_score_thr, report_thresholds


def test_each_class_has_its_threshold():
    sample = BaseDataElement(pred_instances=InstanceData(
        scores=torch.tensor([0.5, 0.5, 0.2, 0.9]), labels=torch.tensor([0, 1, 0, 1])))
    kept = above(sample, [0.4, 0.6])
    assert kept.pred_instances.scores.tolist() == pytest.approx([0.5, 0.9])
    assert len(sample.pred_instances) == 4, 'the prediction stays as it is'
    assert above(BaseDataElement(), [0.4]).keys() == []


@pytest.mark.parametrize('checkpoint', [None, 'https://127.0.0.1/model.pth', 'hf://owner/repository'])
def test_without_a_file_there_is_no_report_beside_it(checkpoint):
    with pytest.raises(ConfigError, match='give a number'):
        report_thresholds(checkpoint, ['a'])


@pytest.fixture
def said(monkeypatch):
    """The warnings that are logged."""
    lines = []
    monkeypatch.setattr('mmvision_mamba.inference.report_thresholds.print_log',
                        lambda message, logger, level: lines.append(message))
    return lines


def made(folder, **evaluation):
    """A report beside a checkpoint that need not be there."""
    (folder / 'report').mkdir(exist_ok=True)
    (folder / 'report/report.json').write_text(json.dumps(dict(
        classes=['a'], thresholds=dict(all=0.4, classes={}), evaluation=evaluation)))


def meta(iteration):
    """A checkpoint's, as mmengine writes it."""
    return {} if iteration is None else dict(iter=iteration, epoch=2)


@pytest.mark.parametrize('name, iteration, evaluation', [
    ('best.pth', None, dict(split='test', checkpoint='best.pth', iteration=0)),
    ('best.pth', 8, dict(split='val', checkpoint='best.pth', iteration=8)),
    ('iter_8.pth', 8, dict(split='val', checkpoint='best_iter_8.pth', iteration=8)),
    ('iter_8.pth', 8, dict(split='val', checkpoint=None, iteration=8)),
    ('copy.pth', 9, dict(split='val', checkpoint='best_epoch_2.pth', iteration=8, epoch=2)),
    ('iter_8.pth#sha256=0123', 8, dict(split='test', checkpoint='iter_8.pth', iteration=0)),
    ('model.pth', None, dict(split='val', checkpoint=None, iteration=8)),  # not known
    ('model.onnx', None, dict(split='val', checkpoint='best.pth', iteration=8)),  # maybe exported from it
    ('model.onnx', None, dict(split='test', checkpoint='model.onnx', iteration=0))])
def test_the_report_of_this_checkpoint_is_taken_in_silence(tmp_path, said, name, iteration, evaluation):
    made(tmp_path, **evaluation)
    assert report_thresholds(tmp_path / name, ['a'], meta(iteration)) == [0.4] and said == []


@pytest.mark.parametrize('name, iteration, evaluation, of', [
    ('best.pth', 6, dict(split='val', checkpoint='other.pth', iteration=8), 'other.pth'),
    ('best.pth', 6, dict(split='test', checkpoint='epoch_12.pth', iteration=0), 'epoch_12.pth'),
    ('best.pth', 0, dict(split='test', checkpoint='epoch_12.pth', iteration=0), 'epoch_12.pth'),
    ('best.pth', None, dict(split='val', checkpoint='epoch_12.pth', iteration=8), 'epoch_12.pth'),
    ('iter_6.pth', 6, dict(split='val', checkpoint=None, iteration=8), 'iteration 8'),
    ('epoch_1.pth', 9, dict(split='val', checkpoint='best_epoch_1.pth', iteration=8, epoch=1), 'best_epoch_1.pth'),
    ('model.onnx', None, dict(split='test', checkpoint='int8.onnx', iteration=0), 'int8.onnx')])
def test_the_report_of_another_checkpoint_is_told_in_a_line(tmp_path, said, name, iteration, evaluation, of):
    made(tmp_path, **evaluation)
    assert report_thresholds(tmp_path / name, ['a'], meta(iteration)) == [0.4]
    message, = said
    assert f'are those of {of}, not of {name}' in message and '\n' not in message


def model(**settings):
    return SimpleNamespace(panoptic_fusion_head=SimpleNamespace(test_cfg=settings))


def test_thresholds_that_would_change_nothing_are_refused():
    for score_thr in (0.3, 'auto'):
        with pytest.raises(ConfigError, match='label maps have no scores'):
            check_score_thr(score_thr, SimpleNamespace(), 'mmseg', filters=True)
        with pytest.raises(ConfigError, match='this is a classifier'):
            check_score_thr(score_thr, SimpleNamespace(), 'mmengine', filters=True)
        with pytest.raises(ConfigError, match='a panoptic model'):
            check_score_thr(score_thr, model(), 'mmdet', filters=True)
    check_score_thr(0.3, SimpleNamespace(), 'mmseg')
    check_score_thr(0.3, model(), 'mmdet')
    with pytest.raises(ConfigError, match='no report recommends'):
        check_score_thr('auto', model(instance_on=True), 'mmdet')
    check_score_thr(0.3, model(instance_on=True), 'mmdet', filters=True)
    for usual in (SimpleNamespace(), model(panoptic_on=False)):
        check_score_thr('auto', usual, 'mmdet', filters=True)


@pytest.mark.parametrize('score_thr', [float('nan'), float('inf'), 'best'])
def test_what_is_no_number_is_no_threshold(score_thr):
    with pytest.raises(ConfigError, match="expected a number, or 'auto'"):
        check_score_thr(score_thr, SimpleNamespace(), 'mmdet')


def test_a_threshold_that_no_score_has_keeps_nothing_by_mistake():
    with pytest.raises(ConfigError, match='from 0 to 1'):
        check_score_thr(30., SimpleNamespace(), 'mmdet', filters=True)
