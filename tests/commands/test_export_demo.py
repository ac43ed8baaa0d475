"""The demo's own models through tools/export.py and the runtime, where `make demo` has been run."""
import os
from pathlib import Path

import pytest
from mmengine.config import Config

from mmvision_mamba.export.agreement import Agreement
from mmvision_mamba.runtime.standalone import Detections, Model
from mmvision_mamba.visualization.comparison import predict

from ..helpers import ROOT

DEMO = Path(os.environ.get('MMVISION_MAMBA_DEMO', ROOT / 'work_dirs' / 'demo'))
CONFIGS = ROOT / 'configs'


@pytest.fixture
def demo(monkeypatch):
    """demo(kind, iterations): the checkpoint."""
    def checkpoint(kind, iterations):
        path = DEMO / kind / f'iter_{iterations}.pth'
        if not path.is_file():
            pytest.skip(f'{path} is not there: make demo, or MMVISION_MAMBA_DEMO=…/work_dirs/demo')
        monkeypatch.setenv('SHAPES_ROOT', str(next(DEMO.glob('shapes_seed*'))))
        return path
    return checkpoint


@pytest.mark.slow
@pytest.mark.parametrize('options', [(), ('--with-preprocess',)])
def test_detector(options, tool, tmp_path, demo):
    config, checkpoint = CONFIGS / 'cascade_mask_rcnn_mambavision_t_shapes.py', demo('detector', 400)
    run = tool('export', config, checkpoint, '--shape', 128, 128, '--out', tmp_path / 'd.onnx', '--verify', *options)
    assert run.code == 0, run.err
    assert int(run.out.split(' nodes of')[0].split()[-1].replace(',', '')) < 6000
    assert (tmp_path / 'd.onnx').stat().st_size < 1.1 * 137_203_624  # bytes of the weights
    samples, _ = predict(Config.fromfile(config), checkpoint, range(8))
    model, agreement = Model(tmp_path / 'd.onnx'), Agreement()
    for sample in samples:
        found = sample.pred_instances
        wanted = Detections(*(found[key].numpy() for key in ('bboxes', 'scores', 'labels')), found.masks)
        agreement.add(wanted, model(sample.img_path), 0.05, 20)
    assert model.classes == ['ellipse', 'rectangle', 'triangle']
    assert agreement.detections > 40 and agreement.unmatched == 0, agreement
    assert agreement.score < 1e-3 and agreement.box_iou > 0.99 and agreement.mask_iou > 0.99, agreement


@pytest.mark.slow
@pytest.mark.parametrize('options', [(), ('--with-preprocess',), ('--dynamic', '--output', 'logits')])
def test_segmentor(options, tool, tmp_path, demo):
    config, checkpoint = CONFIGS / 'upernet_mambavision_t_shapes.py', demo('segmentor', 1500)
    run = tool('export', config, checkpoint, '--shape', 128, 128, '--out', tmp_path / 's.onnx', *options)
    assert run.code == 0, run.err
    samples, _ = predict(Config.fromfile(config), checkpoint, range(4))
    model = Model(tmp_path / 's.onnx')
    for sample in samples:
        assert (model(sample.img_path) == sample.pred_sem_seg.data[0].numpy()).mean() > 0.999
