"""torch.compile and torch.export see through mmcv's Python to ATen's and torchvision's operators."""
import numpy as np
import pytest
import torch

import mmvision_mamba  # noqa: F401  mmcv has operators then

pytest.importorskip('mmcv')

from mmcv.ops import RoIAlign, RoIPool, batched_nms, nms

from mmvision_mamba.mmcv_ops import extension, tracing

from ..helpers.mmcv_operators import operators_from
from ..helpers.mmcv_operators.boxes import draw_boxes
from ..helpers.mmcv_operators.regions import draw_regions


@pytest.fixture(autouse=True)
def _operators(monkeypatch):
    import mmcv.ops.nms
    monkeypatch.setattr(mmcv.ops.nms, 'eval', eval, raising=False)
    tracing.name_nms_without_eval()
    torch._dynamo.reset()
    with torch._dynamo.config.patch(capture_dynamic_output_shape_ops=True), operators_from(extension):
        yield
    torch._dynamo.reset()


def drawn():
    boxes, scores = draw_boxes(np.random.RandomState(0), 'apart')
    return boxes, scores, torch.arange(len(boxes)) % 3


SUPPRESSIONS = dict(
    nms=lambda boxes, scores, classes: nms(boxes, scores, 0.3, 1, score_threshold=0.1, max_num=9),
    batched_nms=lambda boxes, scores, classes: batched_nms(boxes, scores, classes, dict(type='nms', iou_threshold=0.7)))


@pytest.mark.skipif(torch.__version__ < '2.11', reason="torch 2.4 breaks the graph at mmengine's decorator of `nms`")
@pytest.mark.parametrize('name', SUPPRESSIONS)
def test_suppression_is_one_graph(name):
    found = torch.compile(SUPPRESSIONS[name], backend='aot_eager', fullgraph=True)(*drawn())
    assert all(map(torch.equal, found, SUPPRESSIONS[name](*drawn())))


@pytest.mark.parametrize('layer', [RoIAlign(3, 0.5, 0), RoIAlign((3, 2), 0.5, 2, aligned=False), RoIPool(3, 0.5)])
def test_pooled_features_and_their_gradients_are_one_graph(layer):
    maps, regions = draw_regions(np.random.RandomState(0), torch.float32)
    gradients = []
    for function in (layer, torch.compile(layer, backend='aot_eager', fullgraph=True)):
        given = maps.clone().requires_grad_()
        output = function(given, regions)
        output.square().sum().backward()
        gradients.append((output, given.grad))
    assert all(map(torch.equal, *gradients)) and gradients[0][1].any()


class Layer(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


@pytest.mark.parametrize(('operator', 'function', 'inputs'), [
    ('torchvision.roi_align.default', RoIAlign(3, 0.5, 2), draw_regions(np.random.RandomState(0), torch.float32)),
    ('torchvision.roi_pool.default', RoIPool(3, 0.5), draw_regions(np.random.RandomState(0), torch.float32)),
    ('torchvision.nms.default', SUPPRESSIONS['batched_nms'], drawn())])
def test_exported_programs_hold_torchvisions_operators(operator, function, inputs):
    program = torch.export.export(Layer(function).eval(), inputs, strict=False)
    assert operator in {str(node.target) for node in program.graph.nodes}
    found, expected = program.module()(*inputs), function(*inputs)
    for one, other in zip(*((each,) if isinstance(each, torch.Tensor) else each for each in (found, expected))):
        assert torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize(('stages', 'masks'), [(1, False), (3, True)], ids=['Faster R-CNN', 'Cascade Mask R-CNN'])
@pytest.mark.parametrize('training', [False, True])
def test_a_whole_detector_has_no_graph_break_in_these_operators(stages, masks, training):
    from ..helpers.detectors import build, cascade, images, labelled, samples
    model, batch = build(cascade(stages=stages, masks=masks)), torch.stack(images((96, 128)))
    with torch.set_grad_enabled(training):
        report = torch._dynamo.explain(
            (lambda batch: model.loss(batch, labelled((96, 128)))) if training else
            (lambda batch: model.predict(batch, samples((96, 128)))))(batch)
    places = {frame.filename for reason in report.break_reasons for frame in reason.user_stack[-1:]}
    assert not [place for place in places if 'mmcv/ops' in place or 'mmcv_ops' in place or 'torchvision' in place]
    traced = str([node.target for graph in report.graphs for module in graph.modules()
                  if isinstance(module, torch.fx.GraphModule) for node in module.graph.nodes])
    assert 'torchvision.nms' in traced and 'torchvision.roi_align' in traced
