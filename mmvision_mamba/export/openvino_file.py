"""Graphs as OpenVINO's files: made of the ONNX graph, whose operators it knows."""
import errno
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..errors import require
from ..runtime.loaders import files_of
from ..runtime.openvino_files import ABOUT


def write_openvino(path: Path, write_onnx: Callable[[Path], None], metadata: Mapping[str, str], half: bool) -> None:
    """Write a graph to `path`, an .xml file, and its weights beside it to a .bin of the same name.

    Args:
        path: the .xml file.
        write_onnx: writes the graph as ONNX to a path.
        metadata: values as JSON, kept in the model's rt_info.
        half: whether weights are float16; they are computed with in float32.

    Raises:
        MissingExtraError: OpenVINO isn't installed.
    """
    require('--format openvino', 'openvino', 'openvino')
    import openvino
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        graph = Path(folder) / 'graph.onnx'
        write_onnx(graph)
        model = openvino.Core().read_model(str(graph))
        _mend(model)
        _describe(model, metadata)
        save(model, path, half)


def save(model, path: Path, half: bool = False) -> None:
    """Write a model of OpenVINO's to `path`, and its weights beside it; with `half` these are float16.

    Raises:
        OSError: it can't be written.
    """
    import openvino
    try:
        openvino.save_model(model, str(path), compress_to_fp16=half)
    except RuntimeError as error:
        if 'iostream' not in str(error):
            raise
        raise OSError(errno.ENOSPC, 'it can not be written, as where the disk is full') from error


def annotate_openvino(path: Path, metadata: Mapping[str, str]) -> None:
    """Add values, as JSON, to the metadata of the model at `path`, or replace them there."""
    import openvino
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        model, new = openvino.Core().read_model(str(path)), Path(folder) / path.name
        _describe(model, metadata)
        save(model, new)
        for file in files_of(new):  # the weights are read from where they were, until then
            os.replace(file, path.with_name(file.name))


def _describe(model, metadata: Mapping[str, str]) -> None:
    for key, value in metadata.items():
        model.set_rt_info(value, [ABOUT, key])


def _mend(model) -> None:
    """Put operators into a graph, in place, where OpenVINO's CPU plugin computes something else than ONNX says."""
    import openvino.opset13 as operators
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind == 'ROIAlign':
            # 0 for a box without extent, as in torch and onnxruntime, and not the mean of no points.
            _change(node, lambda pooled: operators.select(
                operators.is_nan(pooled), operators.constant(np.float32(0)), pooled))
        elif kind == 'MatMul' and _heads_may_be_tokens(node):
            # It fuses attention with the transpose behind it, which it leaves out where heads are as many as tokens
            # (2026.4). A bound that no number reaches keeps both apart.
            _change(node, lambda product: operators.minimum(product, operators.constant(np.float32(3e38))))


def _heads_may_be_tokens(product) -> bool:
    """Whether a product, ``(…, heads, tokens, channels)``, is transposed with sides that are, or may be, equal."""
    shape = product.get_output_partial_shape(0)
    if shape.rank.is_dynamic or shape.rank.get_length() < 4 or not any(
            reader.get_node().get_type_name() == 'Transpose' for reader in product.output(0).get_target_inputs()):
        return False
    heads, tokens = shape[shape.rank.get_length() - 3], shape[shape.rank.get_length() - 2]
    return heads.is_dynamic or tokens.is_dynamic or heads.get_length() == tokens.get_length()


def _change(node, changed: Callable) -> None:
    """Have all that reads a node's output read what `changed` makes of it."""
    output = node.output(0)
    readers = output.get_target_inputs()
    new = changed(output)
    for reader in readers:
        reader.replace_source_output(new.output(0))
