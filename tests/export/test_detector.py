"""Detectors as a function of tensors, against mmdet's own `predict`; then through ONNX and onnxruntime."""
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from mmengine.registry import MODELS, init_default_scope

from mmvision_mamba.errors import ConfigError, ExportError
from mmvision_mamba.export import detector_job, verify
from mmvision_mamba.export.agreement import Agreement
from mmvision_mamba.export.detector import DetectorGraph
from mmvision_mamba.export.preprocess import paste
from mmvision_mamba.runtime.standalone import Model

from ..helpers.detectors import HEADS, SHAPE, build, cascade, export, images, in_pytorch, samples, single_stage

CONFIGS = {**{kind: lambda kind=kind: single_stage(kind) for kind in HEADS},
           'small boxes and few': lambda: single_stage('FCOS', min_bbox_size=20, nms_pre=1000, max_per_img=1000),
           'all classes together': lambda: single_stage('ATSS', nms=dict(type='nms', iou_threshold=0.3,
                                                                         class_agnostic=True)),
           'nothing found': lambda: single_stage('FCOS', score_thr=0.99999),
           'Cascade Mask R-CNN': cascade, 'class-agnostic': lambda: cascade(agnostic=True),
           'Mask R-CNN': lambda: cascade(stages=1), 'Cascade R-CNN': lambda: cascade(masks=False)}


@pytest.mark.parametrize('name', CONFIGS)
@torch.no_grad()
def test_same_as_mmdet(name):
    model = build(CONFIGS[name]())
    sizes = [(90, 128), (96, 101)]
    batch = torch.zeros(2, 3, 96, 128)
    for padded, image in zip(batch, images(*sizes)):
        padded[:, :image.shape[1], :image.shape[2]] = image
    expected = [sample.pred_instances for sample in model.predict(batch, samples(*sizes, padded=(96, 128)))]
    graph = DetectorGraph(model)
    boxes, scores, labels, *masks = graph(batch, torch.tensor(sizes))
    assert graph.output_names == ('boxes', 'scores', 'labels', 'masks')[:3 + len(masks)]
    assert bool(masks) == ('masks' in expected[0])
    for i, instances in enumerate(expected):
        n = len(instances)
        assert (n > 3 and instances.labels.unique().numel() > 1) != (name == 'nothing found'), 'a test of nothing'
        assert (labels[i, n:] == -1).all() and (scores[i, n:] == 0).all() and (boxes[i, n:] == 0).all()
        torch.testing.assert_close(boxes[i, :n], instances.bboxes, rtol=0, atol=1e-2)
        torch.testing.assert_close(scores[i, :n], instances.scores, rtol=0, atol=1e-4)
        assert torch.equal(labels[i, :n], instances.labels)
        if masks:
            found = paste(masks[0][i, :n], boxes[i, :n], *sizes[i]) >= 0.5
            assert 0.005 < instances.masks.float().mean() < 0.98
            assert (found != instances.masks).float().mean() < 1e-3


# ONNX ---------------------------------------------------------------------------------------------------------------

def session(path):
    return onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])


def runner(path):
    found = session(path)
    return lambda *inputs: found.run(None, dict(zip([entry.name for entry in found.get_inputs()], inputs)))


@pytest.mark.parametrize('name', ['cascade', 'retinanet'])
def test_what_is_checked(name, exported):
    _, path, rows = exported[name]
    assert all(row.passed for row in rows)
    assert {row.what for row in rows} - {'masks, IoU'} == {'unmatched', 'scores', 'boxes, IoU'}
    assert ('masks, IoU' in {row.what for row in rows}) == (name == 'cascade')
    assert len({row.images for row in rows}) == (6 if name == 'cascade' else 5)
    assert sum(int(row.images.split()[-2]) for row in rows if row.what == 'scores') > 60, 'a check of nothing'
    # The check can fail: the file is another model's.
    other = build(cascade() if name == 'cascade' else single_stage('RetinaNet'), seed=1)
    picture, = verify.verification_images(SHAPE, 1)
    wrong = Agreement()
    wrong.add(in_pytorch(other)(picture), Model(path)(picture), 0.05, 15 if name == 'cascade' else 30)
    assert wrong.detections > 5 and wrong.unmatched > 5


def test_a_file_that_differs_is_not_kept(tmp_path, monkeypatch):
    model = build(single_stage('FCOS'))
    monkeypatch.setattr(detector_job.DetectorExport, '_reference', lambda self, image: in_pytorch(
        build(single_stage('FCOS'), seed=1))(image))
    with pytest.raises(ExportError, match='unmatched'):
        export(model, tmp_path / 'new' / 'fcos.onnx')
    assert not [path for path in tmp_path.rglob('*') if path.is_file()]


def test_half_precision(tmp_path):
    """Only the backbone and the neck: boxes of float16 would be a pixel off from 1,024 on."""
    rows = export(build(single_stage('ATSS')), tmp_path / 'half.onnx', fp16=True)
    assert all(row.passed for row in rows if row.what in ('scores', 'boxes, IoU'))
    types = {entry.data_type for entry in onnx.load(tmp_path / 'half.onnx').graph.initializer}
    assert onnx.TensorProto.FLOAT16 in types
    assert session(tmp_path / 'half.onnx').get_inputs()[0].type == 'tensor(float)'


def test_standard_operators_only(exported):
    for name, (_, path, _) in exported.items():
        graph = onnx.load(path)
        onnx.checker.check_model(graph, full_check=True)
        assert not graph.functions and [(entry.domain, entry.version) for entry in graph.opset_import] == [('', 17)]
        operators = {node.op_type for node in graph.graph.node}
        assert 'NonMaxSuppression' in operators and ('RoiAlign' in operators) == (name == 'cascade')
        assert len(graph.graph.node) < 3000


def test_any_batch(exported):
    found = runner(exported['cascade'][1])
    batch = torch.stack(images(SHAPE, SHAPE, SHAPE)).numpy()
    size = np.array([[96, 128], [80, 128], [96, 100]])
    together = found(batch, size)
    for i in range(3):
        for whole, one in zip(together, found(batch[i:i + 1], size[i:i + 1])):
            np.testing.assert_allclose(whole[i], one[0], rtol=1e-4, atol=1e-3)


def test_nothing_in_the_picture(exported, tmp_path, monkeypatch):
    blank = np.zeros((1, 3, *SHAPE), np.float32)
    # An image of no size: not even a proposal is left.
    boxes, scores, labels, masks = runner(exported['cascade'][1])(blank, np.array([[0, 0]]))
    assert boxes.shape == (1, 15, 4) and masks.shape == (1, 15, 28, 28)
    assert (labels == -1).all() and (scores == 0).all()
    model = build(cascade(agnostic=True))
    model.test_cfg.rcnn.score_thr = model.roi_head.test_cfg.score_thr = 0.9999
    with pytest.raises(ExportError, match='nothing can be compared: name photos'):
        export(model, tmp_path / 'empty.onnx', with_preprocess=True)
    monkeypatch.setattr(detector_job.DetectorExport, '_check_files', lambda *args: [])
    export(model, tmp_path / 'empty.onnx', with_preprocess=True)
    boxes, scores, labels, masks = runner(tmp_path / 'empty.onnx')(np.zeros((50, 70, 3), np.uint8))
    assert boxes.shape == (0, 4) and len(scores) == len(labels) == 0 and masks.shape == (0, 50, 70)


# What can't be exported -----------------------------------------------------------------------------------------------

def changed(cfg, **changes):
    cfg.merge_from_dict(changes)
    return cfg


def pooled_by_max():
    cfg = cascade()
    cfg.model.roi_head.bbox_roi_extractor.roi_layer = dict(type='RoIPool', output_size=7)
    return cfg


@pytest.mark.parametrize(('cfg', 'message'), [
    (lambda: changed(single_stage('ATSS'), **{'model.bbox_head.type': 'PAAHead'}), 'PAAHead can not be exported; dense '
     'heads that can: RetinaHead, FCOSHead'),
    (lambda: single_stage('FCOS', nms=dict(type='soft_nms', iou_threshold=0.5)), "got type='soft_nms'"),
    (lambda: single_stage('FCOS', nms=dict(type='nms', iou_threshold=0.5, max_num=3)), 'with max_num'),
    (pooled_by_max, 'SingleRoIExtractor of RoIPool can not be exported')])
def test_unsupported(cfg, message):
    init_default_scope('mmdet')
    with pytest.raises(ConfigError, match=message):
        DetectorGraph(MODELS.build(cfg().model).eval())


@pytest.mark.parametrize(('options', 'message'), [
    (dict(format='torchscript'), '--format torchscript: detectors are exported as ONNX'),
    (dict(dynamic='all'), 'use --dynamic batch')])
def test_formats_and_sizes(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        export(build(single_stage('FCOS')), tmp_path / 'x.onnx', **options)
