"""The scan, windows and pooling as graphs: against the reference, for lengths and sizes that a trace has not seen."""
import io

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.registry import DefaultScope
from torch import nn

from mmvision_mamba import MambaVision
from mmvision_mamba.export import graph_modules
from mmvision_mamba.export.onnx_file import tidy
from mmvision_mamba.export.parts import BackboneGraph
from mmvision_mamba.export.pools import MatrixPool
from mmvision_mamba.export.preprocess import Preprocess
from mmvision_mamba.export.wrappers import Dynamic
from mmvision_mamba.inference.uper import speed_up
from mmvision_mamba.ops.chunked import plain_chunked_scan
from mmvision_mamba.ops.operators import dynamic_sizes
from mmvision_mamba.ops.reference import reference_scan, step_sizes

ARCH = dict(dim=8, in_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 4))


def onnx_bytes(module, inputs, axes, outputs=1):
    file = io.BytesIO()
    names = [f'x{i}' for i in range(len(inputs))]
    torch.onnx.export(module.eval(), tuple(inputs), file, dynamo=False, opset_version=17, input_names=names,
                      output_names=[f'y{i}' for i in range(outputs)],
                      dynamic_axes=dict.fromkeys(names, axes) if axes else None)
    return file.getvalue()


def scan_inputs(batch, length, channels=6, state=3):
    u, delta = torch.randn(2, batch, length, channels)
    B, C = torch.randn(2, batch, length, state)
    return u, delta, B, C


def doubles(graph):
    """Names of the numbers in double precision, which onnxruntime's build for browsers on WebGPU has not."""
    import onnx
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(graph))
    double = onnx.TensorProto.DOUBLE
    return [value.name for value in model.graph.value_info if value.type.tensor_type.elem_type == double]


class Scan(nn.Module):
    def __init__(self, scan):
        super().__init__()
        self.scan, self.A, self.D = scan, -torch.rand(6, 3) * 5, torch.randn(6)

    def forward(self, u, delta, B, C):
        with dynamic_sizes():
            return self.scan(u, delta, self.A, B, C, self.D, self.D / 2, True, None)


@given(length=st.integers(1, 400), batch=st.integers(1, 3), scale=st.sampled_from([1., 30.]))
@settings(max_examples=30, deadline=None)
def test_scan_in_plain_operators(length, batch, scale):
    module = Scan(plain_chunked_scan)
    u, delta, B, C = scan_inputs(batch, length)
    torch.testing.assert_close(module(u, delta * scale, B, C), Scan.forward(_with(module, reference_scan), u,
                                                                          delta * scale, B, C), rtol=1e-4, atol=1e-4)


def _with(module, scan):
    other = Scan(scan)
    other.A, other.D = module.A, module.D
    return other


def test_step_sizes_of_a_graph_keep_their_digits():
    class StepSizes(nn.Module):
        def forward(self, delta):
            return step_sizes(delta, None, True, None, torch.float32)
    delta = torch.cat([-torch.logspace(-8, 1.9, 500), torch.zeros(1), torch.logspace(-8, 4, 500)]).view(1, -1, 1)
    graph = onnx_bytes(StepSizes(), [delta], None)
    assert b'Softplus' not in graph  # which onnxruntime computes number by number
    found, = onnxruntime.InferenceSession(graph).run(None, dict(x0=delta.numpy()))
    wanted = nn.functional.softplus(delta.double()).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_decays_that_underflow_change_nothing():
    module = Scan(plain_chunked_scan)
    u, delta, B, C = scan_inputs(1, 300)
    inputs = u, delta * 0 + 60, B, C  # the decay over a chunk is far below what float32 holds
    graph = onnx_bytes(module, inputs, None)
    found, = onnxruntime.InferenceSession(graph).run(None, {f'x{i}': x.numpy() for i, x in enumerate(inputs)})
    np.testing.assert_allclose(found, _with(module, reference_scan)(*inputs), rtol=1e-5, atol=1e-4)


def test_scan_of_any_length():
    """One graph, from shorter than a chunk to where many doublings are needed."""
    module = Scan(plain_chunked_scan)
    session = onnxruntime.InferenceSession(onnx_bytes(module, scan_inputs(2, 40), {0: 'batch', 1: 'length'}))
    for batch, length in ((1, 1), (3, 15), (1, 16), (2, 17), (1, 1000), (1, 5003)):
        inputs = scan_inputs(batch, length)
        found, = session.run(None, {f'x{i}': x.numpy() for i, x in enumerate(inputs)})
        wanted = _with(module, reference_scan)(*inputs)
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize('window_size', [(4, 2), (None, None), (64, 32)])
@pytest.mark.parametrize('padding', ['fit', 'zeros'])
def test_backbone_of_any_size(padding, window_size):
    backbone = MambaVision(dict(ARCH, depths=(1, 1, 2, 2)), window_padding=padding, window_size=window_size).eval()
    graph = Dynamic(BackboneGraph(backbone), free_size=True)
    axes = {0: 'batch', 2: 'height', 3: 'width'}
    session = onnxruntime.InferenceSession(onnx_bytes(graph, [torch.randn(2, 3, 64, 96)], axes, 4))
    for shape in ((1, 3, 64, 96), (2, 3, 101, 32), (1, 3, 32, 147)):
        images = torch.randn(shape)
        with torch.no_grad():
            wanted = backbone(images)
        for a, b in zip(wanted, session.run(None, dict(x0=images.numpy()))):
            assert np.abs(a.numpy() - b).max() <= 1e-4 * a.abs().max()


@pytest.mark.parametrize(('approximate', 'fused'), [('tanh', 'FastGelu'), ('none', 'Gelu')])
def test_gelu_is_one_operator_to_onnxruntime(approximate, fused, tmp_path):
    import onnx
    gelu, first, last = nn.GELU(approximate), nn.Linear(30, 30), nn.Linear(30, 30)
    graph, x = nn.Sequential(first, graph_modules.GraphGELU(gelu), last), torch.randn(4, 20, 30) * 4
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / 'optimized.onnx')
    found, = onnxruntime.InferenceSession(onnx_bytes(graph, [x], None), options).run(None, dict(x0=x.numpy()))
    with torch.no_grad():
        wanted = last(gelu(first(x)))
        assert torch.equal(graph(x), wanted)  # in PyTorch it is PyTorch's
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    kinds = {node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node}
    assert fused in kinds and kinds.isdisjoint({'Tanh', 'Erf', 'Pow'})


@pytest.mark.parametrize('padding', ['fit', 'zeros'])
def test_attention_of_many_tokens_takes_some_queries_at_a_time(padding, monkeypatch):
    import onnx
    monkeypatch.setattr(graph_modules, 'ONNX_QUERIES', 5)
    backbone = MambaVision(dict(ARCH, depths=(1, 1, 2, 1)), window_padding=padding, window_size=(3, None),
                           out_indices=(2,), pattern=('MS', 'M')).eval()
    images = torch.randn(1, 3, 64, 96)  # a map of 4 × 6: windows of 2 × 3 or 3 × 3
    file = onnx_bytes(BackboneGraph(backbone), [images], None)
    blocks = sum(node.op_type == 'Softmax' for node in onnx.load_from_string(file).graph.node)
    assert blocks == 2
    found, = onnxruntime.InferenceSession(file).run(None, dict(x0=images.numpy()))
    with torch.no_grad():
        np.testing.assert_allclose(found, backbone(images)[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('shape, scale', [((96, 128), (128, 128)), ((128, 128), None), ((64, 160), (333, 200))])
def test_a_graph_resizes_to_the_same_pixels_as_opencv(shape, scale):
    prepare = Preprocess(shape, [0., 0., 0.], [1., 1., 1.], scale=scale)
    graph = onnx_bytes(prepare, [torch.zeros(50, 70, 3, dtype=torch.uint8)], {0: 'height', 1: 'width'},
                       3)
    assert not doubles(graph)
    session, rng = onnxruntime.InferenceSession(graph), np.random.default_rng(0)
    for height, width in ((133, 218), (165, 218), (96, 128), (31, 700), (701, 43), (417, 555), (9, 11)):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        found, _, resized = session.run(None, dict(x0=image))
        height, width = resized[0].tolist()
        assert (height, width) == tuple(prepare(torch.from_numpy(image))[2][0].tolist())
        wanted = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(found[0, :, :height, :width].transpose(1, 2, 0), wanted)


@pytest.mark.parametrize('size', [(7, 5), (16, 16), (2, 3)])
@pytest.mark.parametrize('output', [1, 3, 6, (2, None)])
def test_matrix_pool(size, output):
    x = torch.randn(2, 4, *size)
    torch.testing.assert_close(MatrixPool(output)(x), nn.AdaptiveAvgPool2d(output)(x))


def test_tidy_keeps_what_is_computed():
    import onnx
    module = Scan(plain_chunked_scan)
    model = onnx.load_from_string(onnx_bytes(module, scan_inputs(1, 40), None))
    before = len(model.graph.node)
    feed = {f'x{i}': x.numpy() for i, x in enumerate(scan_inputs(1, 40))}
    wanted, = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)
    tidy(model.graph)
    onnx.checker.check_model(model)
    assert len(model.graph.node) < before and not {'Constant', 'Identity'} & {n.op_type for n in model.graph.node}
    found, = onnxruntime.InferenceSession(model.SerializeToString()).run(None, feed)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize('sizes', [[(32, 48), (16, 24), (8, 12), (4, 6)], [(33, 45), (17, 23), (9, 12), (5, 6)],
                                   [(8, 9), (8, 9), (1, 1), (1, 3)]])
@pytest.mark.parametrize('norm_cfg', [dict(type='BN'), None])
@torch.no_grad()
def test_uper_head_with_less_to_compute(sizes, norm_cfg):
    from mmseg.models.decode_heads import UPerHead
    with DefaultScope.overwrite_default_scope('mmseg'):
        head = UPerHead(in_channels=[4, 6, 8, 10], in_index=[0, 1, 2, 3], channels=5, num_classes=3, norm_cfg=norm_cfg,
                        align_corners=False).eval()
    nn.init.normal_(head.conv_seg.weight)
    for module in head.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean), nn.init.uniform_(module.weight)
    maps = [torch.randn(2, channels, *size) for channels, size in zip(head.in_channels, sizes)]
    wanted = head(maps)
    speed_up(head)
    assert isinstance(head.fpn_bottleneck.conv, nn.Identity)
    torch.testing.assert_close(head(maps), wanted, rtol=1e-4, atol=1e-5)
