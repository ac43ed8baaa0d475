"""Which operators of an ONNX file TensorRT's parser takes.

From the support matrix in docs/operators.md of github.com/onnx/onnx-tensorrt for TensorRT 8.5 (opset 17), read on
2026-11-22; LayerNormalization was added in 8.6. The matrix's limits on types and attributes are not checked: only
TensorRT itself tells whether an engine can be built.
"""
from collections.abc import Iterable

SUPPORTED = frozenset((
    'Abs', 'Add', 'And', 'ArgMax', 'ArgMin', 'AveragePool', 'BatchNormalization', 'Cast', 'Ceil', 'Clip', 'Concat',
    'Constant', 'ConstantOfShape', 'Conv', 'ConvTranspose', 'Cos', 'CumSum', 'DepthToSpace', 'DequantizeLinear', 'Div',
    'Dropout', 'Einsum', 'Elu', 'Equal', 'Erf', 'Exp', 'Expand', 'EyeLike', 'Flatten', 'Floor', 'Gather',
    'GatherElements', 'GatherND', 'Gemm', 'GlobalAveragePool', 'GlobalMaxPool', 'Greater', 'GreaterOrEqual',
    'GridSample', 'HardSigmoid', 'HardSwish', 'Identity', 'If', 'InstanceNormalization', 'IsNaN', 'LayerNormalization',
    'LeakyRelu', 'Less', 'LessOrEqual', 'Log', 'LogSoftmax', 'Loop', 'MatMul', 'Max', 'MaxPool', 'Mean', 'Min', 'Mod',
    'Mul', 'Neg', 'NonMaxSuppression', 'NonZero', 'Not', 'OneHot', 'Or', 'Pad', 'Pow', 'PRelu', 'QuantizeLinear',
    'Range', 'Reciprocal', 'ReduceL1', 'ReduceL2', 'ReduceMax', 'ReduceMean', 'ReduceMin', 'ReduceProd', 'ReduceSum',
    'Relu', 'Reshape', 'Resize', 'RoiAlign', 'Round', 'Scan', 'ScatterElements', 'ScatterND', 'Selu', 'Shape',
    'Sigmoid', 'Sign', 'Sin', 'Size', 'Slice', 'Softmax', 'Softplus', 'Softsign', 'Split', 'Sqrt', 'Squeeze', 'Sub',
    'Sum', 'Tan', 'Tanh', 'Tile', 'TopK', 'Transpose', 'Trilu', 'Unsqueeze', 'Where', 'Xor'))


def unsupported(operators: Iterable[str]) -> list[str]:
    """Names of those `operators`, of ONNX's own domain, that TensorRT's parser does not take."""
    return sorted(set(operators) - SUPPORTED)
