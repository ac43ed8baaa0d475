"""int8 files of ONNX and OpenVINO: what may be lost, which layers go back to float, what the files say of it."""
import importlib.util
import json
import os
import sys

import numpy as np
import onnx
import pytest

from mmvision_mamba.commands import call
from mmvision_mamba.errors import ConfigError, ExportError, MissingExtraError
from mmvision_mamba.export import int8, quantize, scores
from mmvision_mamba.export.verify import Row, verification_images
from mmvision_mamba.inference.exported import ExportedModel
from mmvision_mamba.runtime.loaders import load_model
from mmvision_mamba.runtime.standalone import Model

FORMATS = ['.onnx', pytest.param('.xml', marks=pytest.mark.skipif(
    not (importlib.util.find_spec('nncf') and importlib.util.find_spec('openvino')),
    reason="pip install '.[nncf]'"))]
PICTURE = verification_images((64, 64), 1)[0]


@pytest.fixture
def export(model_files, shapes, tmp_path, monkeypatch):
    """export(name, suffix, **options) makes an int8 file of one of the small models; returns its path."""
    monkeypatch.setenv('SHAPES_ROOT', str(shapes))

    def made(name, suffix, **options):
        given, path = getattr(model_files, name), tmp_path / 'made' / f'{name}{suffix}'
        call('export', config=str(given.config), checkpoint=str(given.checkpoint), out=path,
             format={'.onnx': 'onnx', '.xml': 'openvino'}[suffix], shape=(64, 64),
             **dict(dict(int8='static', int8_images=(2, 3)), **options))
        return path
    return made


def metadata(path):
    """A file's metadata, each value as JSON."""
    if path.suffix == '.onnx':
        return {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    import openvino
    return {key: value.astype(str) for key, value in openvino.Core().read_model(path).rt_info['mmvision_mamba'].items()}


def outcome(lost):
    return int8.Outcome([Row('mIoU lost', '3 images', lost, int8.MOST_LOST, True)], [], 0)


# The rule -----------------------------------------------------------------------------------------------------------

def test_layers_go_back_to_float_worst_first_until_the_loss_is_within_the_bound():
    order, written, losses = [f'layer {i}' for i in range(40)], [], iter([9., 2., 1.])
    found = int8.within_bound(lambda kept: written.append(list(kept)), lambda: outcome(next(losses)), 40,
                              lambda: order)
    assert written == [[], order[:2], order[:4]] and found.kept == sorted(order[:4]) and found.layers == 40


def test_layers_are_not_ranked_where_nothing_is_lost():
    found = int8.within_bound(lambda kept: None, lambda: outcome(-0.2), 40, lambda: pytest.fail('they are'))
    assert found.kept == [] and all(row.passed for row in found.rows)


@pytest.mark.parametrize('lost', [1.01, float('nan')])
def test_a_loss_that_stays_ends_in_failed_checks(lost):
    kept = []
    found = int8.within_bound(kept.append, lambda: outcome(lost), 10, lambda: [*'abcdefghij'])
    assert not any(row.passed for row in found.rows) and [len(one) for one in kept] == [0, 1, 1, 2, 4, 7]


def test_what_is_not_found_at_all_is_lost(tmp_path):
    measured = iter([dict(bbox_mAP=60., segm_mAP=50.), dict(bbox_mAP=59.5)])
    found = int8.metrics_lost(tmp_path, lambda path: next(measured), '3 images')(tmp_path)
    assert [(row.what, row.value, row.passed) for row in found.rows] == [
        ('bbox_mAP lost, of 60.00', 0.5, True), ('segm_mAP lost, of 50.00', 50., False)]
    assert 'bbox_mAP 59.50, in float32 60.00; segm_mAP 0.00, in float32 50.00 (3 images)' in str(found)
    with pytest.raises(ConfigError, match='finds nothing in the test data'):
        int8.metrics_lost(tmp_path, lambda path: {}, '3 images')


# Files --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('suffix', FORMATS)
def test_a_detectors_file(suffix, export, capsys):
    path = export('detector', suffix)
    model = load_model(path)
    found = model(PICTURE)
    assert found.masks.shape == (len(found.scores), 64, 64) and len(found.scores) > 0
    about = json.loads(metadata(path)['int8'])
    assert json.loads(metadata(path)['precision']) == 'int8' and about['kind'] == 'static' and about['bound'] == 1
    assert set(about['float32']) == set(about['int8']) == {'bbox_mAP', 'segm_mAP'}
    assert about['layers'] > 30 and about['layers_in_float'] == []
    assert {'Exp', 'Softmax'} <= set(about['operators_in_float'])
    assert any('NonMaxSuppression' in kind for kind in about['operators_in_float'])
    assert f'bbox_mAP {about["int8"]["bbox_mAP"]:.2f}, in float32' in capsys.readouterr().out
    assert [file.suffix for file in sorted(path.parent.iterdir())] == (['.onnx'] if suffix == '.onnx' else
                                                                      ['.bin', '.xml'])


@pytest.mark.parametrize('suffix', FORMATS)
def test_a_segmentors_layers_that_lose_much_stay_in_float(suffix, export, monkeypatch):
    """As many as the bound asks for; of these the file has weights of 32 bits."""
    losses = iter([50., 40.])
    monkeypatch.setattr(scores, 'mean_iou', lambda *args: next(losses, 49.5))
    path = export('segmentor', suffix)
    about = json.loads(metadata(path)['int8'])
    assert about['float32'] == {'mIoU': 50.} and about['int8'] == {'mIoU': 49.5}
    kept = about['layers_in_float']
    assert len(kept) == -(-about['layers'] // 20)
    if suffix == '.onnx':
        graph = onnx.load(path).graph
        weights = {tensor.name: tensor.data_type for tensor in graph.initializer}
        for node in graph.node:
            if node.name in kept:
                assert weights[node.input[1]] == onnx.TensorProto.FLOAT
    assert load_model(path)(PICTURE).shape == (64, 64)


@pytest.mark.parametrize('suffix', FORMATS)
def test_a_backbones_features_change_little(suffix, export):
    path = export('segmentor', suffix, part='backbone')
    about = json.loads(metadata(path)['int8'])
    assert about['bound'] == int8.MOST_CHANGED
    assert 0 < max(about['change'].values()) <= about['bound'] and set(about['change']) == {
        f'{name} changed' for name in json.loads(metadata(path)['outputs'])}


@pytest.mark.parametrize('suffix', FORMATS)
def test_a_bound_that_can_not_be_met_leaves_no_file(suffix, export, monkeypatch, tmp_path):
    monkeypatch.setattr(int8, 'MOST_CHANGED', 1e-9)
    monkeypatch.setattr(int8, 'SHARES', (0, 0.5))
    with pytest.raises(ExportError, match='stage1 changed'):
        export('segmentor', suffix, part='backbone')
    assert not [path for path in (tmp_path / 'made').rglob('*') if path.is_file()]


def test_the_standalone_runtime_runs_it(export):
    """By onnxruntime alone, and as the package's own model does."""
    path = export('segmentor', '.onnx', int8='dynamic')
    np.testing.assert_array_equal(Model(path)(PICTURE), load_model(path)(PICTURE))
    assert json.loads(metadata(path)['int8'])['kind'] == 'dynamic'
    assert ExportedModel(path).file.task == 'segmentation'


def test_batches_are_calibrated_too(export):
    assert export('segmentor', '.onnx', part='backbone', batch=2).exists()


def test_without_nncf_the_extra_is_named(export, monkeypatch):
    pytest.importorskip('openvino')
    monkeypatch.setitem(sys.modules, 'nncf', None)
    with pytest.raises(MissingExtraError, match='nncf'):
        export('segmentor', '.xml')


def test_openvino_has_one_kind(export):
    pytest.importorskip('openvino')
    with pytest.raises(ConfigError, match='--int8 dynamic is not for --format openvino: use --int8 static'):
        export('segmentor', '.xml', int8='dynamic')


@pytest.mark.parametrize('kind', ['static', 'dynamic'])
def test_what_the_quantiser_cut_off_on_a_full_disk_is_told(kind, tmp_path, monkeypatch):
    """onnx's inference of shapes writes a file for it, and reports no failed write."""
    write = onnx.shape_inference.infer_shapes_path

    def cut(source, path, *arguments, **options):
        write(source, path, *arguments, **options)
        os.truncate(path, os.stat(path).st_size // 2)
    monkeypatch.setattr(onnx.shape_inference, 'infer_shapes_path', cut)
    kinds = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [4, 8]) for name in ('images', 'out')]
    weights = onnx.numpy_helper.from_array(np.ones((8, 8), np.float32), 'weights')
    graph = onnx.helper.make_graph([onnx.helper.make_node('MatMul', ['images', 'weights'], ['out'], 'layer')], 'graph',
                                   kinds[:1], kinds[1:], [weights])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid('', 17)], ir_version=8),
              str(tmp_path / 'whole.onnx'))
    with pytest.raises(ExportError, match='cut off, as where the disk is full'):
        quantize.quantize_onnx(tmp_path / 'whole.onnx', tmp_path / 'm.onnx', kind,
                               [dict(images=np.ones((4, 8), np.float32))], ())
