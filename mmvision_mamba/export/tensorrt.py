"""Which operators of an ONNX file TensorRT's parser takes.

From the support matrix in docs/operators.md of github.com/onnx/onnx-tensorrt for TensorRT 8.5 (opset 17), read on
2026-11-22; LayerNormalization was added in 8.6. What limits the matrix puts on types and attributes is not checked:
whether an engine can be built, only TensorRT itself tells.
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
    """Those of `operators`, names of ONNX's own, that are not in the list."""
    return sorted(set(operators) - SUPPORTED)
