"""ONNX graphs stay what they are when they are tidied."""
import numpy as np
import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from mmvision_mamba.export.onnx_file import finish


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
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8), str(path))
    finish(path, {})
    found, = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider']).run(None, {'x': np.zeros(1)})
    np.testing.assert_array_equal(found, np.concatenate(values))
    if length == 3:
        assert len(onnx.load(str(path)).graph.initializer) == 3
