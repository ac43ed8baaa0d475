"""Writes graphs as ONNX, OpenVINO and MNN files, torch.export programs, AOTInductor packages and TorchScript."""
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ConfigError, require
from ..runtime.loaders import files_of, quiet
from ..runtime.openvino_files import ABOUT
from ..runtime.standalone import checksum
from . import OF_ONNX, OPSET, onnx_file
from .mnn_file import write_mnn
from .openvino_file import write_openvino
from .parts import Exportable
from .wrappers import Dynamic

LARGEST = 4096  # pixels a side that the scan of a graph is long enough for, where height or width is symbolic
FREE = {0: 'batch', 2: 'height', 3: 'width'}  # axes of images that may be symbolic


def write(what: Exportable, path: Path, format: str, inputs: Sequence[Tensor], free: Sequence[int] = (),
          metadata: Mapping[str, str] | None = None, opset: int = OPSET, simplify: bool = False,
          half: bool = False) -> None:
    """Write an exportable part of a model to a file of `format`.

    Args:
        what: the part to export.
        path: the file to write. Weights of 2 GB and more lie beside an ONNX file, in a second one named PATH.data;
            those of OpenVINO always do, in a .bin of the same name.
        format: one of `export.FORMATS`.
        inputs: an example of each input; all axes but the free ones get its size in the file.
        free: axes of the images that become symbolic: 0, 2, 3 for batch, height, width. Default: none.
        metadata: values as JSON, kept in the file.
        opset: of an ONNX graph. Default: 17.
        simplify: have onnxslim shrink an ONNX graph. Default: False.
        half: keep the weights of a file of OpenVINO or MNN as float16; a graph for other formats is in its type.
            Default: False.

    Raises:
        ConfigError: the format lacks an operator; names it. Or there is no compiler for it.
        MissingExtraError: onnx, onnxslim, OpenVINO or MNN isn't installed.
    """
    with torch.no_grad(), quiet():
        if format == 'onnx':
            _write_onnx(what, path, inputs, free, metadata or {}, opset, simplify)
        elif format in OF_ONNX:
            write_file = dict(openvino=write_openvino, mnn=write_mnn)[format]
            write_file(path, lambda graph: _write_onnx(what, graph, inputs, free, {}, opset, simplify),
                       metadata or {}, half)
        else:
            write_file = {'torch-export': _write_program, 'aot-inductor': _write_package,
                          'torchscript': _write_torchscript}[format]
            write_file(what, path, inputs, free, metadata or {})


def tie_weights(path: Path, format: str) -> None:
    """Note in an exported file's metadata which weights are its own, where these lie beside it."""
    if len(files := files_of(path)) == 1:
        return
    text = str(checksum(files[1]))
    if format == 'openvino':  # whose own writer would write both anew
        about = f'<{ABOUT}>'.encode()
        path.write_bytes(path.read_bytes().replace(about, about + f'\n\t\t\t<weights value="{text}" />'.encode()))
        return
    import onnx
    model = onnx.load(str(path), load_external_data=False)
    model.metadata_props.add(key='weights', value=text)
    path.write_bytes(model.SerializeToString())


def _write_onnx(what, path, inputs, free, metadata, opset, simplify):
    require('--format onnx', 'export', 'onnx', *(['onnxslim'] if simplify else []))
    graph = Dynamic(what.graph, not {2, 3}.isdisjoint(free)).eval()
    examples = dict(zip(what.inputs, inputs))
    axes = {name: {axis: FREE[axis] for axis in free if axis < example.dim()} for name, example in examples.items()}
    if inputs[0].dtype == torch.uint8:
        axes = {what.inputs[0]: {0: 'height', 1: 'width'}}
    try:
        onnx_file.write(path, graph, examples, what.outputs, axes if axes.get(what.inputs[0]) else {}, opset, metadata,
                        simplify)
    except torch.onnx.errors.UnsupportedOperatorError as error:
        raise ConfigError(f'--format onnx: {str(error).splitlines()[0]}\nReplace the layer that uses it, or use '
                          '--format torch-export.') from error


def _program(what, inputs, free):
    sizes = {}
    for axis in free:  # symbols without names: for named ones the tracer must prove that every size works
        sizes[axis] = torch.export.Dim.DYNAMIC
    return torch.export.export(what.graph, tuple(inputs), strict=False, dynamic_shapes=(sizes,) if sizes else None)


def _write_program(what, path, inputs, free, metadata):
    content = io.BytesIO()  # torch's own writer ends the process where the disk is full, as TorchScript's
    torch.export.save(_program(what, inputs, free), content, extra_files=_extra(metadata))
    path.write_bytes(content.getbuffer())


def _write_package(what, path, inputs, free, metadata):
    from torch._inductor import aoti_compile_and_package
    try:
        aoti_compile_and_package(_program(what, inputs, free), package_path=str(path),
                                 inductor_configs={'aot_inductor.metadata': dict(metadata)})
    except RuntimeError as error:
        if 'InvalidCxxCompiler' not in f'{type(error).__name__}: {error}':
            raise
        raise ConfigError('--format aot-inductor compiles C++, and no C++ compiler works here: install one (Debian, '
                          'Ubuntu: apt install g++), or name it with CXX.') from error


def _write_torchscript(what, path, inputs, free, metadata):
    graph = Dynamic(what.graph, not {2, 3}.isdisjoint(free)).eval()
    traced = torch.jit.freeze(torch.jit.trace(graph, tuple(inputs), check_trace=False))
    content = io.BytesIO()
    torch.jit.save(traced, content, _extra_files=_extra(metadata))
    path.write_bytes(content.getbuffer())


def _extra(metadata: Mapping[str, str]) -> dict[str, str]:
    """The metadata as a file in the archives that torch writes."""
    return {'metadata.json': json.dumps({key: json.loads(value) for key, value in metadata.items()})}
