"""ONNX graphs stay what they are when they are tidied."""
import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from mmvision_mamba.export.onnx_file import finish, save, write


@pytest.mark.parametrize('length', [3, 5000])
def test_constants_are_shared_where_they_are_equal_and_nowhere_else(tmp_path, length):
    values = [np.arange(length, dtype=np.float64) + shift for shift in (0, 0, 1, 2)]
    nodes = [helper.make_node('Constant', [], [f'c{i}'], value=numpy_helper.from_array(value))  # without names
             for i, value in enumerate(values)]
    nodes.append(helper.make_node('Concat', [f'c{i}' for i in range(4)], ['joined'], axis=0))
    nodes.append(helper.make_node('Add', ['joined', 'x'], ['y']))
    graph = helper.make_graph(nodes, 'g', [helper.make_tensor_value_info('x', TensorProto.DOUBLE, [1])],
                              [helper.make_tensor_value_info('y', TensorProto.DOUBLE, [4 * length])])
    path = tmp_path / 'a.onnx'
    save(finish(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8), {}), path)
    found, = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider']).run(None, {'x': np.zeros(1)})
    np.testing.assert_array_equal(found, np.concatenate(values))
    if length == 3:
        assert len(onnx.load(str(path)).graph.initializer) == 3


def test_what_else_lies_in_the_folder_stays(tmp_path):
    others = [tmp_path / name for name in ('notes.txt', 'b.onnx', 'a.onnx.data')]
    for other in others:
        other.write_text('mine')
    write(tmp_path / 'a.onnx', torch.nn.Linear(3, 4).eval(), dict(x=torch.ones(2, 3)), ['y'], {}, 17, {})
    assert {path.name for path in tmp_path.iterdir()} == {'a.onnx', *(other.name for other in others)}
    assert all(other.read_text() == 'mine' for other in others)
