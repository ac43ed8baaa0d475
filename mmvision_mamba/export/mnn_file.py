"""Graphs as MNN's files: made of the ONNX graph by MNN's converter, in a process of its own."""
import json
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from ..errors import ConfigError, ExportError
from ..printable import shown
from ..runtime.mnn_files import ABOUT, HEAD, UNSIGNED, biz_code, digest, require_mnn

# What `mnnconvert` runs. MNN's own script for it installs a package with pip, and reports each model to its makers.
_CONVERT = 'import json, sys, _tools; _tools.mnnconvert(json.load(sys.stdin))'
_MISSING = re.compile(r'ONNX::(\w+)')  # in what the converter says of operators


def write_mnn(path: Path, write_onnx: Callable[[Path], None], metadata: Mapping[str, str], half: bool = False,
              bits: int | None = None) -> None:
    """Write a graph with its weights and metadata to `path`, one .mnn file.

    Args:
        path: the file.
        write_onnx: writes the graph as ONNX to a path.
        metadata: values as JSON, kept in the file's bizCode with a digest of the file.
        half: whether weights are float16; they are computed with in float32.
        bits: of whole numbers as weights, with a scale per channel; they are computed with in float32, too.
            Default: weights are not quantised.

    Raises:
        MissingExtraError: MNN or onnx isn't installed.
        ConfigError: MNN lacks an operator, or the weights are of 2 GB and more.
        ExportError: its converter fails, or what it wrote is cut off.
    """
    require_mnn('--format mnn')
    import onnx
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        graph = Path(folder) / 'graph.onnx'
        write_onnx(graph)
        if graph.with_name(f'{graph.name}.data').exists():
            raise ConfigError('--format mnn: weights of 2 GB and more do not fit into one file; --format onnx and '
                              'openvino take them')
        model = onnx.load(str(graph))
        _mend(model.graph)
        onnx.save(model, str(graph))
        options = ['--fp16'] * half
        if bits:
            options += ['--weightQuantBits', str(bits), '--weightQuantAsymmetric', 'false']
        # The converter keeps large weights in a file of one fixed name in the working folder: two at once in the same
        # one would write models with zeros in the place of weights, and report nothing.
        done = subprocess.run(
            [sys.executable, '-c', _CONVERT], cwd=folder, capture_output=True, text=True, errors='replace',
            input=json.dumps(['mnnconvert', '-f', 'ONNX', '--modelFile', graph.name, '--MNNModel', str(path.resolve()),
                              '--bizCode', ABOUT, *options]))
    if done.returncode or not path.is_file():
        said = done.stdout + done.stderr
        if lacking := sorted({*_MISSING.findall(said)}):
            raise ConfigError(f'--format mnn: MNN has no {shown(", ".join(lacking), 200)}.\nReplace the layer that '
                              'uses it, or use --format onnx')
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        raise ExportError(f"--format mnn: MNN's converter fails: {shown(lines[-1] if lines else done.returncode, 200)}")
    try:
        describe(path, metadata)
    except struct.error as error:  # the converter reports no failed write
        raise ExportError(
            "--format mnn: MNN's converter left a file that is cut off, as where the disk is full") from error


def describe(path: Path, metadata: Mapping[str, str]) -> None:
    """Add values, as JSON, to the metadata of the MNN file at `path`, or replace them there, and sign it anew.

    A FlatBuffer's texts may lie anywhere: the new one goes to the end, and the offset that leads to it is changed.

    Raises:
        struct.error: the file is cut off, or has no text for them.
    """
    content = bytearray(path.read_bytes())
    place = biz_code(content)
    if place is None:
        raise struct.error('no bizCode')
    old = content[place.start:place.start + place.length]
    values = json.loads(old)[ABOUT] if old.startswith(HEAD) else {}
    text = HEAD + UNSIGNED + b'", ' + json.dumps({ABOUT: {**values, **metadata}}).encode()[1:]
    content += bytes(-len(content) % 4)
    struct.pack_into('<I', content, place.offset, len(content) - place.offset)
    start = len(content) + 4
    content += struct.pack('<I', len(text)) + text + bytes(4 - len(text) % 4)
    at = start + len(HEAD)
    content[at:at + len(UNSIGNED)] = digest(content, start).encode()
    path.write_bytes(content)


def _mend(graph) -> None:
    """Replace operators of an ONNX graph, in place, where MNN computes something else than ONNX says."""
    nodes, write = list(graph.node), _Writer(graph)
    del graph.node[:]
    for node in nodes:
        if node.op_type == 'RoiAlign':
            _mend_roi_align(write, node)
        elif node.op_type == 'Erf':
            _mend_erf(write, node)
        else:
            write.keep(node)


class _Writer:
    """Adds nodes to a graph, whose names begin with that of the node which they replace."""

    def __init__(self, graph):
        self.graph, self.prefix, self.count, self.constants = graph, '', 0, {}

    def keep(self, node) -> None:
        self.graph.node.append(node)

    def constant(self, value: np.ndarray) -> str:
        from onnx import numpy_helper
        key = value.dtype.name, value.shape, value.tobytes()
        if key not in self.constants:
            self.constants[key] = f'mmvision_mamba_constant_{len(self.constants)}'
            self.graph.initializer.append(numpy_helper.from_array(value, self.constants[key]))
        return self.constants[key]

    def number(self, value: float) -> str:
        return self.constant(np.float32(value).reshape(()))

    def add(self, kind: str, *inputs: str, outputs: int = 1, name: str | None = None, **attributes):
        """A node; returns the name of its output, which is `name` where that is given, or the names of several."""
        from onnx import helper
        self.count += 1
        names = [name] if name else [f'{self.prefix}/mended_{self.count}_{i}' for i in range(outputs)]
        self.graph.node.append(helper.make_node(kind, inputs, names, name=f'{self.prefix}/mended_{self.count}',
                                                **attributes))
        return names[0] if outputs == 1 else names


def _mend_roi_align(write: _Writer, node) -> None:
    """0 for a box without extent, as in torch and onnxruntime, where MNN (3.6) gives NaN, the mean of no points."""
    write.prefix = result = node.output[0]
    low, high = write.add('Split', node.input[1], write.constant(np.array([2, 2])), outputs=2, axis=1)
    has_extent = write.add('Greater', write.add('Sub', high, low), write.number(0))
    node.input[1] = write.add('Concat', low, write.add(
        'Where', has_extent, high, write.add('Add', low, write.number(1))), axis=1)
    both = write.add('ReduceMin', write.add('Cast', has_extent, to=1), axes=[1], keepdims=1)
    node.output[0] = f'{result}/of_boxes_with_extent'
    write.keep(node)
    write.add('Mul', node.output[0], write.add('Reshape', both, write.constant(np.array([-1, 1, 1, 1]))), name=result)


def _mend_erf(write: _Writer, node) -> None:
    """A bound that no value reaches keeps MNN (3.6) from its own GELU, which is exact to four digits only."""
    write.prefix = result = node.output[0]
    node.output[0] = f'{result}/unbounded'
    write.keep(node)
    write.add('Min', node.output[0], write.number(1), name=result)
