"""A model repository for NVIDIA's Triton Inference Server: an ensemble from the image to the result, as ONNX graphs.

    REPOSITORY/NAME/config.pbtxt                 the ensemble: takes an image of any size
    REPOSITORY/NAME_preprocess/1/model.onnx      resizes, normalises and pads it
    REPOSITORY/NAME_network/1/model.onnx         the network, of images from several requests at once
    REPOSITORY/NAME_postprocess/1/model.onnx     brings maps, boxes and masks into the image's own size

The fields of config.pbtxt are those of Triton's model_config.proto.
"""
from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import ConfigError, require
from ..printable import shown
from ..runtime.loaders import onnx_session, quiet
from ..runtime.standalone import Model, Session
from . import onnx_file
from .wrappers import Half

STEPS = 'preprocess', 'network', 'postprocess'
WAIT = 2000  # microseconds that an image waits for others, to go through the network with them
MARK = '# Written by mmvision_mamba.'  # the first line of a config.pbtxt
_FILES = 'config.pbtxt', 'metadata.json', '1/model.onnx', '1/model.onnx.data'  # of a model
_NAME = re.compile(r'[A-Za-z0-9][\w.-]*', re.ASCII)
_TYPES = dict(FLOAT='FP32', FLOAT16='FP16', DOUBLE='FP64', UINT8='UINT8', INT64='INT64', BOOL='BOOL')


@dataclass
class Repository:
    """What is written, and how it is run here.

    Args:
        name: of the ensemble.
        most: images that go through the network together, at most.
        opset: of the graphs.
        simplify: have onnxslim shrink them.

    Raises:
        ConfigError: a name that Triton's clients can't ask for.
    """
    name: str
    most: int
    opset: int
    simplify: bool = False

    def __post_init__(self):
        if not _NAME.fullmatch(self.name) or len(self.name) > 200:
            raise ConfigError(f"--format triton-repository: the model is named '{shown(self.name)}', after the config, "
                              'and may have letters, digits, _, - and . alone: rename the config')

    def write(self, graph: nn.Module, outputs: Sequence[str], path: Path, image: Tensor,
              metadata: Mapping[str, str]) -> None:
        """Write the repository.

        Args:
            graph: `Images` or `ImageDetector`, or `Half` of the former.
            outputs: their names.
            path: the folder to make.
            image: an example, ``(h, w, C)`` uint8.
            metadata: values as JSON, kept as the ensemble's parameters.
        """
        require('--format triton-repository', 'export', 'onnx', 'onnxruntime')
        if isinstance(graph, Half):
            graph = graph.graph
        path.mkdir()
        steps, image = [], image.unsqueeze(0)
        with torch.no_grad(), quiet():
            given = ['prepared', *['size'] * graph.network_takes_sizes]
            prepare = _Prepare(graph.preprocess, dict.fromkeys([*given, *filter(None, [graph.finish_takes])])).eval()
            prepared = dict(zip(prepare.outputs, prepare(image)))
            steps.append(self._step('preprocess', path, prepare, dict(image=image), prepare.outputs,
                                    {1: 'height', 2: 'width'}))
            network = _Network(graph).eval()
            inputs = {name: prepared[name] for name in given}
            found = network(*inputs.values())
            is_last = graph.finish_takes is None
            names = list(outputs) if is_last else [f'network_{i}' for i in range(len(found))]
            steps.append(self._step('network', path, network, inputs, names, {}, self.most))
            if not is_last:
                finishing = _Finish(graph).eval()
                used = {'image': image, graph.finish_takes: prepared[graph.finish_takes], **dict(zip(names, found))}
                steps.append(self._step('postprocess', path, finishing, used, outputs, {1: 'height', 2: 'width'}))
        self._ensemble(path, steps, outputs, metadata)

    def load(self, path: Path) -> Model:
        """The repository as Triton runs it, one image after the other, by onnxruntime here."""
        metadata = json.loads((path / self.name / 'metadata.json').read_text())
        steps = self._sessions(path)

        def run(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            return self._through(steps, [feed['image']])[0]
        channels = json.loads(metadata['inputs'])['image']['shape'][2]
        return Model(path / self.name / 'config.pbtxt',
                     session=Session(run, dict(image=('uint8', [None, None, channels])),
                                     json.loads(metadata['outputs']), metadata))

    def together(self, path: Path, images: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        """The outputs for each of some images, ``(h, w, C)`` uint8, that go through the network at once."""
        return self._through(self._sessions(path), images)

    def _sessions(self, path: Path) -> list:
        folders = [path / f'{self.name}_{step}' for step in STEPS]
        return [onnx_session(folder / '1' / 'model.onnx') for folder in folders if folder.is_dir()]

    def _through(self, steps: Sequence, images: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
        prepare, network, *finish = steps
        every = [_run(prepare, dict(image=image[None])) for image in images]
        joined = {name: np.concatenate([one[name] for one in every]) for name in every[0]}
        found = _run(network, joined)
        results = []
        for i, (image, one) in enumerate(zip(images, every)):
            tensors = dict(one, image=image[None], **{name: value[i:i + 1] for name, value in found.items()})
            for step in finish:
                tensors = {name: value[0] for name, value in _run(step, tensors).items()}
            results.append([tensors[name] for name in (tensors if finish else found)])
        return results

    def _step(self, kind: str, path: Path, module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str],
              axes: Mapping[int, str], most: int = 1) -> tuple[str, list, list]:
        """Write one model of the repository; returns its name, and its inputs and outputs as (name, type, dims)."""
        import onnx
        folder = path / f'{self.name}_{kind}'
        file = folder / '1' / 'model.onnx'
        file.parent.mkdir(parents=True)
        dynamic = {name: {0: 'batch'} for name in (*inputs, *outputs)}
        if 'image' in inputs:
            dynamic['image'] = {0: 'batch', **axes}
        onnx_file.write(file, module, inputs, outputs, dynamic, self.opset, {}, self.simplify)
        graph = onnx.load(str(file), load_external_data=False).graph
        weights = {tensor.name for tensor in graph.initializer}
        sides = [[_tensor(entry) for entry in entries if entry.name not in weights]
                 for entries in (graph.input, graph.output)]
        lines = [MARK, f'name: {_text(folder.name)}', 'backend: "onnxruntime"', f'max_batch_size: {most}',
                 *_tensors('input', sides[0]), *_tensors('output', sides[1])]
        if most > 1:
            lines.append(f'dynamic_batching {{ max_queue_delay_microseconds: {WAIT} }}')
        lines.append(f'instance_group [ {{ kind: {"KIND_AUTO" if kind == "network" else "KIND_CPU"} }} ]')
        (folder / 'config.pbtxt').write_text('\n'.join(lines) + '\n')
        return folder.name, *sides

    def _ensemble(self, path: Path, steps: Sequence[tuple], outputs: Sequence[str],
                  metadata: Mapping[str, str]) -> None:
        folder = path / self.name
        (folder / '1').mkdir(parents=True)
        described = {name: (name, kind, dims) for _, _, found in steps for name, kind, dims in found}
        lines = [MARK, f'name: {_text(self.name)}', 'platform: "ensemble"', 'max_batch_size: 1',
                 *_tensors('input', [tensor for tensor in steps[0][1] if tensor[0] == 'image']),
                 *_tensors('output', [described[name] for name in outputs]), 'ensemble_scheduling {', '  step [']
        parts = []
        for name, inputs, found in steps:
            maps = [f'      {side}_map {{ key: {_text(tensor)} value: {_text(tensor)} }}'
                    for side, tensors in (('input', inputs), ('output', found)) for tensor, *_ in tensors]
            parts.append('\n'.join(['    {', f'      model_name: {_text(name)}', '      model_version: -1', *maps,
                                    '    }']))
        lines += [',\n'.join(parts), '  ]', '}']
        lines += [f'parameters {{ key: {_text(key)} value {{ string_value: {_text(value)} }} }}'
                  for key, value in metadata.items()]
        (folder / 'config.pbtxt').write_text('\n'.join(lines) + '\n')
        (folder / 'metadata.json').write_text(json.dumps(dict(metadata), indent=1) + '\n')


class _Prepare(nn.Module):
    """An image ``(1, h, w, C)`` -> what is used of that which `Preprocess` makes of it: Triton takes no unused ones."""

    def __init__(self, preprocess: nn.Module, outputs: Iterable[str]):
        super().__init__()
        self.preprocess, self.outputs = preprocess, tuple(outputs)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        found = dict(zip(('prepared', 'size', 'resized'), self.preprocess(image[0])))
        return tuple(_of_batch(found[name][0], image) for name in self.outputs)


class _Network(nn.Module):
    """The network of a graph that takes images, with float32 outside."""

    def __init__(self, graph: nn.Module):
        super().__init__()
        self.graph = graph

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        return tuple(out.float() if out.is_floating_point() else out for out in self.graph.network(*inputs))


class _Finish(nn.Module):
    """The rest of such a graph, with a first axis of 1 in all that goes in and comes out."""

    def __init__(self, graph: nn.Module):
        super().__init__()
        self.graph = graph

    def forward(self, image: Tensor, size: Tensor, *found: Tensor) -> tuple[Tensor, ...]:
        return tuple(_of_batch(out, image) for out in self.graph.finish(image[0], size, *found))


def _of_batch(found: Tensor, image: Tensor) -> Tensor:
    """With a first axis of as many as there are images, one: in the graph an open one, as Triton wants it of all that
    may be batched, where a 1 would do for nothing else."""
    return found.unsqueeze(0).expand(image.shape[0], *found.shape)


def _run(session, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """A step's outputs by name, of all tensors that there are by name."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {entry.name: tensors[entry.name] for entry in session.get_inputs()})))


def check_folder(path: Path, name: str) -> None:
    """Raise ConfigError where something lies at `path` that a repository of that name would not bring anew.

    What is there is replaced as a whole: models of other exports, further versions and files of the user's would go.
    """
    if path.name in ('', '..'):
        raise ConfigError(f"--out: '{shown(path)}' names no folder to make: name one in it")
    if path.is_symlink():  # it would be replaced itself, and where it leads the models before stayed
        raise ConfigError(f"--out: '{shown(path)}' is a link: name the folder that it leads to")
    if not path.exists():
        return
    if not path.is_dir():
        raise ConfigError(f"--out: '{shown(path)}' is there, and is no folder: choose another name")
    models = {name, *(f'{name}_{step}' for step in STEPS)}
    for folder, folders, files in os.walk(path):
        links = [name for name in folders if Path(folder, name).is_symlink()]  # to folders, which are not walked
        for file in (Path(folder, name) for name in (*files, *links)):
            model, *rest = file.relative_to(path).parts
            if model not in models or '/'.join(rest) not in _FILES or not _is_ours(path / model / 'config.pbtxt'):
                raise ConfigError(f"--out: '{shown(file)}' is not of this model's repository, and the whole folder "
                                  'would be replaced: name another one. Triton takes several, each by a '
                                  '--model-repository')


def _is_ours(config: Path) -> bool:
    return config.is_file() and config.read_text(errors='replace').startswith(MARK)


def _tensor(entry) -> tuple[str, str, list[int]]:
    """Name, Triton's type, and sides of an ONNX graph's input or output without the first, -1 for open ones."""
    import onnx
    kind = entry.type.tensor_type
    dims = [side.dim_value if side.HasField('dim_value') else -1 for side in kind.shape.dim[1:]]
    return entry.name, _TYPES[onnx.TensorProto.DataType.Name(kind.elem_type)], dims


def _tensors(side: str, tensors: Sequence[tuple[str, str, list[int]]]) -> list[str]:
    parts = ',\n'.join(f'  {{ name: {_text(name)} data_type: TYPE_{kind} dims: {dims} }}'
                       for name, kind, dims in tensors)
    return [f'{side} [\n{parts}\n]']


def _text(value: str) -> str:
    """A text in protobuf's text format."""
    return '"' + ''.join(chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f'\\{byte:03o}'
                         for byte in value.encode()) + '"'
