"""int8 files: those of ONNX by onnxruntime's quantiser, those of OpenVINO by NNCF. Which is kept, `int8.py` decides."""
import io
import json
import os
from collections.abc import Collection, Iterable, Mapping
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

from ..errors import ExportError, require
from ..runtime.loaders import quiet
from .onnx_file import weighted
from .openvino_file import annotate_openvino, save

LINEAR = ['MatMul', 'Gemm']
QUANTIZED = ['Conv', *LINEAR]  # operators, where they have weights
_NO_WORK = 'Constant', 'Parameter', 'Result', 'FakeQuantize', 'Convert', 'QuantizeLinear', 'DequantizeLinear'
_LAYERS = 'Convolution', 'GroupConvolution', 'MatMul'  # what OpenVINO makes of these
_OWN_BIAS = '/WithoutBiases'  # what it adds to the name of a layer with a bias
_SILENT = 'NNCF_CI'  # the variable that keeps NNCF from reporting its use to its makers

Feed = Mapping[str, np.ndarray]  # a graph's inputs by name


def quantize_onnx(source: Path, path: Path, kind: str, feeds: Iterable[Feed], kept: Collection[str]) -> None:
    """Write an ONNX file with int8 weights per channel. All operators but `QUANTIZED` stay in float, and of these
    those without weights, such as the products in attention.

    Args:
        source: the float32 file.
        path: the int8 file to write.
        kind: 'static': activations in int8 too, with ranges measured on `feeds`, as QuantizeLinear and
            DequantizeLinear around the operators. 'dynamic': linear layers alone, with ranges measured at run time, as
            MatMulInteger.
        feeds: inputs to calibrate on.
        kept: names of layers that stay in float, too.

    Raises:
        ExportError: the quantiser can't read what it wrote itself.
    """
    from google.protobuf.message import DecodeError
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static

    from .feeds import Feeds
    options = dict(nodes_to_exclude=list(kept), per_channel=True, weight_type=QuantType.QInt8,
                   extra_options=dict(MatMulConstBOnly=True))
    try:
        with quiet():
            if kind == 'dynamic':
                quantize_dynamic(source, path, op_types_to_quantize=LINEAR, **options)
            else:
                quantize_static(source, path, Feeds(feeds), quant_format=QuantFormat.QDQ,
                                op_types_to_quantize=QUANTIZED, activation_type=QuantType.QUInt8, **options)
    except DecodeError as error:  # it writes a file between, and no failed write is reported
        raise ExportError('--int8: what the quantiser wrote is cut off, as where the disk is full') from error


def quantize_openvino(source: Path, path: Path, feeds: Iterable[Feed], kept: Collection[str]) -> None:
    """As `quantize_onnx` of the kind 'static', for files of OpenVINO, whose layers have the names of the ONNX graph.

    Raises:
        MissingExtraError: OpenVINO or NNCF isn't installed.
    """
    require_nncf()
    import nncf
    import openvino
    model, feeds = openvino.Core().read_model(str(source)), list(feeds)
    in_float = [node.get_friendly_name() for node in model.get_ops() if not (
        node.get_type_name() in _LAYERS and _is_layer(node) and _layer_name(node) not in kept)]
    with quiet(), redirect_stdout(io.StringIO()):  # its bars of progress
        level = nncf.common.logging.nncf_logger.level
        nncf.set_log_level(50)
        try:
            model = nncf.quantize(model, nncf.Dataset(feeds), preset=nncf.QuantizationPreset.MIXED,
                                  subset_size=len(feeds),
                                  ignored_scope=nncf.IgnoredScope(names=in_float, validate=False))
        finally:
            nncf.set_log_level(level)
    save(model, path)


def require_nncf() -> None:
    """Raise MissingExtraError where NNCF isn't installed."""
    os.environ.setdefault(_SILENT, '1')
    require('--int8 of --format openvino', 'nncf', 'nncf', 'openvino')


def in_float(path: Path, format: str) -> list[str]:
    """The kinds of operators of an int8 file that are not of `QUANTIZED`, sorted; and so are computed in float."""
    if format == 'openvino':
        import openvino
        kinds = {node.get_type_name() for node in openvino.Core().read_model(str(path)).get_ops()} - {*_LAYERS}
    else:
        import onnx

        from .onnx_file import nodes
        kinds = {node.op_type for node in nodes(onnx.load(str(path)).graph)} - {*QUANTIZED}
        kinds -= {kind for kind in kinds if kind.endswith('Integer')} | {'DynamicQuantizeLinear'}
    return sorted(kinds - {*_NO_WORK})


def annotate(path: Path, format: str, metadata: Mapping[str, object]) -> None:
    """Add values to a file's metadata, or replace them there, each as JSON."""
    texts = {key: json.dumps(value) for key, value in metadata.items()}
    if format == 'openvino':
        annotate_openvino(path, texts)
        return
    import onnx
    model = onnx.load(str(path))
    values = {entry.key: entry.value for entry in model.metadata_props} | texts
    onnx.helper.set_model_props(model, values)
    onnx.save(model, str(path))


def layers(path: Path, format: str, kind: str) -> list[str]:
    """Names of all layers of a file in float32 that `kind` may quantise, in the order of the graph."""
    if format == 'openvino':
        import openvino
        return [_layer_name(node) for node in openvino.Core().read_model(str(path)).get_ordered_ops()
                if node.get_type_name() in _LAYERS and _is_layer(node)]
    import onnx
    kinds = LINEAR if kind == 'dynamic' else QUANTIZED
    return [node.name for node in weighted(onnx.load(str(path), load_external_data=False).graph, kinds)]


def _layer_name(node) -> str:
    return node.get_friendly_name().removesuffix(_OWN_BIAS)


def _is_layer(node) -> bool:
    """Whether an operator of OpenVINO's multiplies with weights, which no input of the graph has a part in."""
    waiting, seen = [node.input_value(1).get_node()], set()
    while waiting:
        node = waiting.pop()
        if node.get_type_name() == 'Parameter':
            return False
        if node.get_name() not in seen:
            seen.add(node.get_name())
            waiting += [value.get_node() for value in node.input_values()]
    return True
