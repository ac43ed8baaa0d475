"""ONNX files: tracing, tidying, saving and counting their operators."""
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import ConfigError

LIMIT = 2**31 - 2**24  # bytes that one protobuf file may hold; past it weights lie in a second file
STANDARD = ('', 'ai.onnx')  # names of ONNX's own domain


def write(path: Path, module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str],
          axes: Mapping[str, Mapping[int, str]], opset: int, metadata: Mapping[str, str],
          simplify: bool = False) -> None:
    """Trace a module on example inputs and write its graph, tidied, to `path`; weights of 2 GB and more beside it.

    Args:
        path: the file.
        module: in eval mode.
        inputs: an example of each input, by the graph's name of it.
        outputs: names of the outputs.
        axes: those that have no fixed size, as axis -> name, of inputs and outputs by name.
        opset: of the graph.
        metadata: values as JSON, kept in the file.
        simplify: have onnxslim shrink the graph. Default: False.

    Raises:
        ConfigError: an operator is of another domain than ONNX's own.
        torch.onnx.errors.UnsupportedOperatorError: ONNX has no such operator.
    """
    import onnx
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:  # for the exporter's files of large weights
        graph = Path(folder) / path.name
        torch.onnx.export(module, tuple(inputs.values()), str(graph), dynamo=False, opset_version=opset, verbose=False,
                          input_names=list(inputs), output_names=list(outputs), dynamic_axes=axes or None)
        model = onnx.load(str(graph))
    save(finish(model, metadata, simplify), path)


def finish(model, metadata: Mapping[str, str], simplify: bool = False):
    """Tidy a model's graph, give it its metadata, and check that its operators are standard ones; returns the model.

    Raises:
        ConfigError: an operator is of another domain than ONNX's own.
    """
    if simplify:
        import onnxslim
        model = onnxslim.slim(model)
    tidy(model.graph)
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    model.producer_name, model.doc_string = 'mmvision_mamba', ''
    foreign = sorted({f'{node.domain}::{node.op_type}' for node in nodes(model.graph) if node.domain not in STANDARD})
    if foreign:
        raise ConfigError(f'--format onnx: not standard: {", ".join(foreign)}. Replace the layer that uses them')
    return model


def save(model, path: Path) -> None:
    """Write `model` to `path`; its weights to PATH.data where one file can't hold them."""
    import onnx
    from onnx.external_data_helper import set_external_data
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) > LIMIT:  # ByteSize fails past 2 GB
        for tensor in model.graph.initializer:  # onnx.save's way fails if the working directory has such a file
            if len(tensor.raw_data) >= 1024:
                set_external_data(tensor, f'{path.name}.data')
    onnx.save(model, str(path))


def tidy(graph) -> None:
    """Simplify a graph in place: constants become initializers, shared by equal ones; Identity nodes are dropped."""
    renamed, first_names, kept = {}, {}, []  # first_names: content -> the initializer that has it
    outputs = {out.name for out in graph.output}
    for tensor in graph.initializer:
        first_names.setdefault(_content(tensor), tensor.name)
    for node in graph.node:
        if node.op_type == 'Constant' and node.attribute[0].name == 'value' and node.output[0] not in outputs:
            tensor = node.attribute[0].t
            tensor.name = node.output[0]  # large ones are told apart by it
            name = first_names.setdefault(_content(tensor), node.output[0])
            renamed[node.output[0]] = name
            if name == node.output[0]:
                graph.initializer.append(tensor)
        elif node.op_type == 'Identity' and node.output[0] not in outputs:
            renamed[node.output[0]] = node.input[0]
        else:
            kept.append(node)

    def final(name):
        while renamed.get(name, name) != name:
            name = renamed[name]
        return name
    del graph.node[:]
    graph.node.extend(kept)
    for node in nodes(graph):
        for i, name in enumerate(node.input):
            node.input[i] = final(name)
        node.doc_string = ''
    used = {name for node in nodes(graph) for name in node.input} | outputs
    unused = [tensor for tensor in graph.initializer if tensor.name not in used]
    for tensor in unused:
        graph.initializer.remove(tensor)


def _content(tensor) -> tuple:
    """A key that two small tensors share if they are equal; a large tensor's key is its name."""
    if tensor.ByteSize() > 1024:
        return tensor.name,
    copy = type(tensor)()
    copy.CopyFrom(tensor)
    copy.name = copy.doc_string = ''
    return copy.SerializeToString(),


def nodes(graph):
    """Yields all nodes of a graph, and those of its subgraphs."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField('g'):
                yield from nodes(attribute.g)


def weighted(graph, kinds: Sequence[str]) -> list:
    """The nodes of these kinds whose second input is of the file's weights."""
    weights = {tensor.name for tensor in graph.initializer}
    return [node for node in graph.node if node.op_type in kinds and node.input[1] in weights]


def operators(path: Path) -> Counter:
    """Counts of the operators in an ONNX file, by name."""
    import onnx
    return Counter(node.op_type for node in nodes(onnx.load(str(path), load_external_data=False).graph))
