"""tools/export.py as its users call it: every format, what is checked, and what wrong input gets."""
import json
import sys

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from mmvision_mamba.export import int8, onnx_file, scores, verify
from mmvision_mamba.export.parts import BackboneGraph
from mmvision_mamba.runtime import loaders
from mmvision_mamba.runtime import standalone as runtime

SHAPE = ('--shape', 64, 96)


def lines(run):
    return [line for line in run.out.splitlines() if line.rstrip().endswith(('ok', 'FAILED'))]


def test_onnx(tool, segmentor_files, tmp_path):
    run = tool('export', *segmentor_files, *SHAPE, '--verify', '--out', tmp_path / 'new folder' / 'model.onnx')
    assert run.code == 0, run.err
    assert [line.split()[0] for line in lines(run)] == ['labels'] * 5
    assert '5 checks passed' in run.out
    assert [p.name for p in (tmp_path / 'new folder').iterdir()] == ['model.onnx']
    model = onnx.load(tmp_path / 'new folder' / 'model.onnx')
    onnx.checker.check_model(model)
    assert {(o.domain, o.version) for o in model.opset_import} == {('', 17)}
    meta = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert meta['task'] == 'segmentation' and meta['classes'] == ['background', 'ellipse', 'rectangle', 'triangle']
    assert meta['mean'] == [123.675, 116.28, 103.53] and meta['channel_order'] == 'RGB' and meta['shape'] == [64, 96]
    session = onnxruntime.InferenceSession(tmp_path / 'new folder' / 'model.onnx')
    out, logits = session.run(None, dict(images=np.zeros((1, 3, 64, 96), np.float32)))
    assert out.shape == (1, 64, 96) and out.dtype == np.int64 and logits.shape == (1, 4, 16, 24)


def test_any_size(tool, segmentor_files, tmp_path):
    run = tool('export', *segmentor_files, *SHAPE, '--verify', '--dynamic', '--output', 'logits',
               '--out', tmp_path / 'm.onnx')
    assert run.code == 0, run.err
    checked = lines(run)
    for size in ('1 × 64 × 96', '2 × 64 × 96', '1 × 37 × 34', '2 × 32 × 64', '1 × 32 × 45'):
        assert any(size in line and line.startswith('logits') for line in checked)
    session = onnxruntime.InferenceSession(tmp_path / 'm.onnx')
    assert session.get_inputs()[0].shape == ['batch', 3, 'height', 'width']


@pytest.mark.parametrize('options', [(), ('--fp16', '--output', 'logits')])
def test_image_in(tool, segmentor_files, tmp_path, options):
    run = tool('export', *segmentor_files, *SHAPE, '--verify', '--with-preprocess', '--out', tmp_path / 'm.onnx',
               *options)
    assert run.code == 0, run.err
    image = verify.verification_images((75, 51), 1)[0]
    found, = onnxruntime.InferenceSession(tmp_path / 'm.onnx').run(None, dict(image=image))
    assert found.shape[-2:] == (75, 51)


def test_photos(tool, segmentor_files, shapes, tmp_path, monkeypatch):
    """Those of the test data where they are there; those that are named instead."""
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    run = tool('export', *segmentor_files, *SHAPE, '--verify', '--out', tmp_path / 'm.onnx')
    assert [line.split('labels')[1].split()[0] for line in lines(run)] == [
        'random,', 'drawn,', 'file,', 'file,', 'file,', '000000.png', '000002.png']
    cv2.imwrite(str(tmp_path / 'my photo.png'), verify.verification_images((200, 90), 1)[0])
    run = tool('export', *segmentor_files, *SHAPE, '--verify', '--with-preprocess', '--out', tmp_path / 'm.onnx',
               '--images', tmp_path / 'my photo.png')
    assert run.code == 0 and sum(line.startswith('labels') and 'my photo.png' in line for line in lines(run)) == 1
    assert '000000.png' not in run.out


@pytest.mark.parametrize('format', ['torch-export', 'torchscript'])
def test_other_formats(tool, segmentor_files, tmp_path, format):
    """Without OpenMMLab and this package, by torch alone; any number of images."""
    out = tmp_path / ('m.pt2' if format == 'torch-export' else 'm.pt')
    run = tool('export', *segmentor_files, *SHAPE, '--format', format, '--dynamic', 'batch', '--part', 'backbone',
               '--out', out)
    assert run.code == 0, run.err
    files = {'metadata.json': ''}
    module = torch.export.load(out, extra_files=files).module() if format == 'torch-export' else \
        torch.jit.load(out, _extra_files=files)
    assert json.loads(files['metadata.json'])['task'] == 'features'
    assert [f.shape for f in module(torch.zeros(3, 3, 64, 96))] == [
        (3, 16 * 2**i, 16 // 2**i, 24 // 2**i) for i in range(4)]


def test_half(tool, segmentor_files, tmp_path):
    run = tool('export', *segmentor_files, *SHAPE, '--fp16', '--verify', '--part', 'backbone',
               '--out', tmp_path / 'm.onnx')
    assert run.code == 0, run.err
    assert all('≤ 0.01' in line for line in lines(run))
    model = onnx.load(tmp_path / 'm.onnx')
    large = [t for t in model.graph.initializer if np.prod(t.dims) > 1000]
    assert large and all(t.data_type == onnx.TensorProto.FLOAT16 for t in large)


def test_a_wrong_file_is_not_kept(tool, segmentor_files, tmp_path, monkeypatch):
    """A graph that computes something else: the old file stays, nothing new does, and the exit code says so."""
    out = tmp_path / 'out' / 'm.onnx'
    out.parent.mkdir()
    out.write_text('old')
    monkeypatch.setattr(BackboneGraph, 'forward', lambda self, x: [y * 1.001 for y in self.backbone(x)])
    run = tool('export', *segmentor_files, *SHAPE, '--part', 'backbone', '--out', out)
    assert run.code == 1 and 'does not agree' in run.errors[0] and 'FAILED' in run.err
    assert out.read_text() == 'old' and list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize(('arguments', 'message'), [
    (('--shape', 31, 64), 'images of 32 pixels or more'),
    (('--batch', 0), '--batch must be at least 1'),
    (('--part', 'detector'), '--part detector'),
    (('--format', 'torchscript', '--simplify'), 'are for --format onnx'),
    (('--with-preprocess', '--dynamic'), 'does not go with'),
    (('--with-preprocess', '--format', 'torch-export', '--out', 'm.pt2'), 'onnx, torchscript, openvino and mnn'),
    (('--part', 'backbone', '--output', 'logits'), '--output logits is for a segmentor'),
    (('--int8-images', 2, 3), '--int8-images goes with --int8'),
    (('--images', 'gone.png'), 'gone.png: no such file'),
    (('--format', 'torch-export', '--dynamic'), 'use --dynamic batch'),
    (('--opset', 11), '--opset: 17 to 20, got 11'),
    (('--out', 'model.pt'), '--out: a .onnx file'),
    (('--cfg-options', 'model.test_cfg.mode=slide', 'model.test_cfg.crop_size=(32,32)',
      'model.test_cfg.stride=(32,32)'),
     "has windows of 32 × 32 pixels: use --shape 32 32, or --dynamic"),
    (('--cfg-options', 'model.test_cfg.mode=slide'), "model.test_cfg.mode='slide' needs crop_size and stride"),
    (('--cfg-options', 'model.backbone.arch.dim=24', 'model.decode_head.in_channels=[24,48,96,192]',
      'model.auxiliary_head.in_channels=96'), 'does not fit the model of this config')])
def test_wrong_input(tool, segmentor_files, arguments, message):
    run = tool('export', *segmentor_files, *arguments)
    assert run.code == 2 and message in run.err, run.err
    assert len(run.errors) == 1 and 'Traceback' not in run.err


def test_int8(tool, segmentor_files, shapes, tmp_path, monkeypatch):
    """Static: int8 weights, standard operators, and the metadata is still there."""
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    monkeypatch.setattr(int8, 'MOST_LOST', 100)  # the weights are random
    run = tool('export', *segmentor_files, '--shape', 64, 64, '--int8', '--int8-images', 2, 3, '--verify',
               '--out', tmp_path / 'm.onnx')
    assert run.code == 0, run.err
    assert 'mIoU lost' in run.out
    model = onnx.load(tmp_path / 'm.onnx')
    assert {o.domain for o in model.opset_import} == {''}
    assert {entry.key for entry in model.metadata_props} >= {'task', 'mean', 'classes'}
    kinds = {t.data_type for t in model.graph.initializer if np.prod(t.dims) > 1000}
    assert kinds == {onnx.TensorProto.INT8}


def test_int8_that_costs_too_much_is_not_kept(tool, segmentor_files, shapes, tmp_path, monkeypatch):
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))
    values = iter([80., *[78.5] * 6])
    monkeypatch.setattr(scores, 'mean_iou', lambda *args: next(values))
    run = tool('export', *segmentor_files, '--shape', 64, 64, '--int8', 'dynamic', '--int8-images', 2, 3,
               '--out', tmp_path / 'out' / 'm.onnx')
    assert run.code == 1 and 'mIoU lost, of 80.00' in run.err
    assert not list((tmp_path / 'out').iterdir())


def test_weights_that_one_file_can_not_hold(tool, segmentor_files, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, 'LIMIT', 100_000)
    run = tool('export', *segmentor_files, *SHAPE, '--part', 'backbone', '--out', tmp_path / 'out' / 'm.onnx')
    assert run.code == 0, run.err
    assert sorted(p.name for p in (tmp_path / 'out').iterdir()) == ['m.onnx', 'm.onnx.data']
    assert len(onnxruntime.InferenceSession(tmp_path / 'out' / 'm.onnx').get_outputs()) == 4
    # A file that needs no second one leaves none behind.
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    run = tool('export', *segmentor_files, *SHAPE, '--part', 'backbone', '--out', tmp_path / 'out' / 'm.onnx')
    assert run.code == 0, run.err
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['m.onnx']


def test_weights_beside_a_file_that_are_another_exports_are_told(tool, segmentor_files, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, 'LIMIT', 100_000)
    run = tool('export', *segmentor_files, *SHAPE, '--part', 'backbone', '--out', tmp_path / 'm.onnx')
    assert run.code == 0, run.err
    loaders.load_model(tmp_path / 'm.onnx')
    weights = bytearray((tmp_path / 'm.onnx.data').read_bytes())
    weights[1000] ^= 1
    (tmp_path / 'm.onnx.data').write_bytes(weights)
    with pytest.raises(runtime.RuntimeInputError, match=r'm\.onnx\.data does not hold the weights of'):
        loaders.load_model(tmp_path / 'm.onnx')


def test_files_with_the_name_of_its_weights_that_are_others_stay(tool, segmentor_files, tmp_path, monkeypatch):
    mine = tmp_path / 'm.onnx.data'
    mine.write_text('mine')
    for _ in range(2):  # the second replaces the first
        run = tool('export', *segmentor_files, *SHAPE, '--part', 'backbone', '--out', tmp_path / 'm.onnx')
        assert run.code == 0 and mine.read_text() == 'mine', run.err
    monkeypatch.setattr(onnx_file, 'LIMIT', 100_000)
    before = (tmp_path / 'm.onnx').read_bytes()
    run = tool('export', *segmentor_files, *SHAPE, '--part', 'backbone', '--out', tmp_path / 'm.onnx')
    assert run.code == 2 and 'where another file lies' in run.err
    assert mine.read_text() == 'mine' and (tmp_path / 'm.onnx').read_bytes() == before


def test_missing_packages(tool, segmentor_files, monkeypatch):
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    run = tool('export', *segmentor_files)
    assert run.code == 2 and "the extra 'export'" in run.err


def test_unsupported_head(tool, segmentor_files):
    from mmseg.models import UPerHead
    from mmseg.registry import MODELS as SEGMENTORS

    @SEGMENTORS.register_module(force=True)
    class OddHead(UPerHead):
        def predict_by_feat(self, seg_logits, batch_img_metas):
            return super().predict_by_feat(seg_logits, batch_img_metas)
    run = tool('export', *segmentor_files, '--cfg-options', 'model.decode_head.type=OddHead')
    assert run.code == 2 and 'head OddHead can not be exported' in run.errors[0] and 'UPerHead' in run.errors[0]
