"""Graphs written as ONNX, torch.export programs, AOTInductor packages and TorchScript, and read back to be run."""
import contextlib
import json
import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError, MissingExtraError
from .onnx_file import finish
from .parts import Dynamic, Exportable

FORMATS = {'onnx': '.onnx', 'torch-export': '.pt2', 'aot-inductor': '.pt2', 'torchscript': '.pt'}
OPSET = 17  # the first with LayerNormalization, and what most runtimes have
LARGEST = 4096  # pixels a side, where a height or width is open: what a graph's scan is long enough for
FREE = {0: 'batch', 2: 'height', 3: 'width'}


def write(what: Exportable, path: Path, format: str, inputs: Sequence[Tensor], free: Sequence[int] = (),
          metadata: Mapping[str, str] | None = None, opset: int = OPSET, simplify: bool = False) -> None:
    """Write `what` to `path`.

    Args:
        what: the part to export.
        path: of the file. Weights of 2 GB and more lie beside an ONNX file, in a second one named PATH.data.
        format: one of `FORMATS`.
        inputs: an example of each input. What isn't free is of their shape in the file.
        free: axes of the images that stay open: 0, 2, 3 for batch, height, width.
        metadata: kept in the file.
        opset: of ONNX. Default: 17.
        simplify: have onnxslim shrink an ONNX graph. Default: False.

    Raises:
        ConfigError: an operator that the format lacks (named).
        MissingExtraError: onnx or onnxslim isn't installed.
    """
    writer = dict(zip(FORMATS, (_write_onnx, _write_program, _write_package, _write_torchscript)))[format]
    with torch.no_grad(), _quiet():
        if format == 'onnx':
            writer(what, path, inputs, free, metadata or {}, opset, simplify)
        else:
            writer(what, path, inputs, free, metadata or {})


def _write_onnx(what, path, inputs, free, metadata, opset, simplify):
    require('--format onnx', 'onnx', *(['onnxslim'] if simplify else []))
    graph = Dynamic(what.graph, not {2, 3}.isdisjoint(free)).eval()
    axes = {name: {axis: FREE[axis] for axis in free if axis < example.dim()}
            for name, example in zip(what.inputs, inputs)}
    if inputs[0].dtype == torch.uint8:
        axes = {what.inputs[0]: {0: 'height', 1: 'width'}}
    try:
        torch.onnx.export(graph, tuple(inputs), str(path), dynamo=False, opset_version=opset, verbose=False,
                          input_names=list(what.inputs), output_names=list(what.outputs),
                          dynamic_axes=axes if axes.get(what.inputs[0]) else None)
    except torch.onnx.errors.UnsupportedOperatorError as error:
        raise ConfigError(f'--format onnx: {str(error).splitlines()[0]}\nReplace the layer that uses it, or use '
                          '--format torch-export.') from error
    finish(path, metadata, simplify)


def _program(what, inputs, free):
    sizes = {}
    for axis in free:  # symbols without names: names are for axes whose every value the tracer can prove to be right
        sizes[axis] = torch.export.Dim.DYNAMIC
    return torch.export.export(what.graph, tuple(inputs), strict=False, dynamic_shapes=(sizes,) if sizes else None)


def _write_program(what, path, inputs, free, metadata):
    torch.export.save(_program(what, inputs, free), str(path), extra_files=_extra(metadata))


def _write_package(what, path, inputs, free, metadata):
    from torch._inductor import aoti_compile_and_package
    aoti_compile_and_package(_program(what, inputs, free), package_path=str(path),
                             inductor_configs={'aot_inductor.metadata': dict(metadata)})


def _write_torchscript(what, path, inputs, free, metadata):
    graph = Dynamic(what.graph, not {2, 3}.isdisjoint(free)).eval()
    traced = torch.jit.freeze(torch.jit.trace(graph, tuple(inputs), check_trace=False))
    traced.save(str(path), _extra_files=_extra(metadata))


def _extra(metadata: Mapping[str, str]) -> dict[str, str]:
    return {'metadata.json': json.dumps({key: json.loads(value) for key, value in metadata.items()})}


def load(path: Path, format: str) -> Callable[..., list[np.ndarray]]:
    """A function of NumPy arrays that runs the file: the outputs, in order.

    Raises:
        MissingExtraError: onnxruntime isn't installed.
    """
    if format == 'onnx':
        require('checking an ONNX file', 'onnxruntime')
        session = onnx_session(path)
        names = [entry.name for entry in session.get_inputs()]
        return lambda *inputs: session.run(None, dict(zip(names, inputs)))
    with _quiet():
        if format == 'torchscript':
            module = torch.jit.load(str(path))
        elif format == 'torch-export':
            module = torch.export.load(str(path)).module()
        else:
            from torch._inductor import aoti_load_package
            module = aoti_load_package(str(path))

    def run(*inputs):
        with torch.no_grad():
            return [out.numpy() for out in module(*map(torch.from_numpy, inputs))]
    return run


def onnx_session(path: Path, threads: int | None = None):
    """An onnxruntime session on the CPU, with torch's number of threads."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])


def require(what: str, *packages: str) -> None:
    """Raises MissingExtraError, naming the extra `export`, where one of `packages` can't be imported."""
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise MissingExtraError(what, 'export') from error


@contextlib.contextmanager
def _quiet():
    """Without the exporters' remarks on every size that becomes a constant, which is what is wanted."""
    level = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
