import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from torch import Tensor

from mmvision_mamba.export.layer_errors import worst_first

RNG = np.random.default_rng(0)
WEIGHTS = dict(conv=RNG.standard_normal((4, 2, 3, 3)), linear=RNG.standard_normal((6, 5)),
               gemm=RNG.standard_normal((3, 5)))


def graph(path, weights):
    """x (1, 4, 6, 6) -> a grouped convolution with stride (1, 6, 3, 6), a product and a Gemm, by turns."""
    nodes = [helper.make_node('Conv', ['x', 'conv'], ['a'], 'first', group=2, strides=[2, 1], pads=[1, 0, 0, 2],
                              dilations=[1, 1]),
             helper.make_node('MatMul', ['a', 'linear'], ['b'], 'second'),
             helper.make_node('Flatten', ['b'], ['c'], axis=3),
             helper.make_node('Gemm', ['c', 'gemm'], ['d'], 'third', transB=1),
             helper.make_node('MatMul', ['d', 'e'], ['f'], 'of two activations')]
    nodes.insert(4, helper.make_node('Transpose', ['d'], ['e'], perm=[1, 0]))
    value = helper.make_tensor_value_info
    onnx.save(helper.make_model(helper.make_graph(
        nodes, 'graph', [value('x', 1, [1, 4, 6, 6])], [value('f', 1, None)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]),
        opset_imports=[helper.make_opsetid('', 17)], ir_version=8), path)


def error(x: Tensor, weights: Tensor, axis: int, product) -> float:
    """By torch's own rounding."""
    step = weights.abs().amax([i for i in range(weights.ndim) if i != axis]) / 127
    rounded = torch.fake_quantize_per_channel_affine(weights, step, torch.zeros(len(step), dtype=torch.int32), axis,
                                                     -127, 127)
    least, most = min(x.min().item(), 0), max(x.max().item(), 0)
    scale = (most - least) / 255
    near = torch.fake_quantize_per_tensor_affine(x, scale, round(-least / scale), 0, 255)
    exact = product(x, weights)
    return float((product(near, rounded) - exact).square().sum() / exact.square().sum())


def test_layers_are_sorted_by_the_error_that_rounding_makes(tmp_path):
    x = RNG.standard_normal((1, 4, 6, 6)).astype(np.float32)
    for scale in (1., 30.):  # of one entry of the product's weights, whose column then has few levels left
        weights = {name: array.copy() for name, array in WEIGHTS.items()}
        weights['linear'][0] *= scale
        graph(tmp_path / 'graph.onnx', weights)
        conv, linear, gemm = (torch.from_numpy(array).float() for array in weights.values())
        padded = F.pad(torch.from_numpy(x), (0, 2, 1, 0))

        def convolve(x, w):
            return F.conv2d(x, w, stride=(2, 1), groups=2)
        a = convolve(padded, conv)
        assert a.shape[-1] == 6
        b = a @ linear
        errors = dict(first=error(padded, conv, 0, convolve), second=error(a, linear, 1, torch.matmul),
                      third=error(b.flatten(0, 2), gemm, 0, lambda x, w: x @ w.t()))
        names = sorted(errors, key=errors.get, reverse=True)
        assert worst_first(tmp_path / 'graph.onnx', ['first', 'second', 'third'], [dict(x=x)]) == names
        assert worst_first(tmp_path / 'graph.onnx', ['third', 'second'], [dict(x=x)]) == [
            name for name in names if name != 'first']
    assert [file.name for file in tmp_path.iterdir()] == ['graph.onnx']
