"""Settings of a segmentor, from image to label map, and of backbones, in PyTorch and exported; of exported files."""
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..backbones import MambaVision
from ..configs import is_exported
from ..costs.flops import count_flops
from ..errors import ConfigError, require
from ..export import FORMATS, formats
from ..export.parts import Exportable, build_exportable
from ..export.segmentor import label_map
from ..export.verify import verification_images
from ..inference.exported import load_file
from ..installation import installed
from ..runtime import loaders
from ..runtime.openvino_files import openvino_session
from .experiments import build_model
from .peers import build_peer
from .setting import Setting

_NAMES = {'onnx': 'onnxruntime', 'openvino': 'OpenVINO', 'mnn': 'MNN', 'aot-inductor': 'AOTInductor'}


def _exported_calls(exportable: Exportable, images: Tensor, inductor: bool) -> Iterator[tuple[str, Callable]]:
    """(name, call) of a part exported in each format that is run here: on images, with as many threads as torch."""
    for format in ('onnx', *(['openvino'] if installed('openvino') else []), *(['mnn'] if installed('MNN') else []),
                   *(['aot-inductor'] if inductor else [])):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f'model{FORMATS[format]}'
            formats.write(exportable, path, format, [images])
            run = loaders.load(path, format)
            yield _NAMES[format], lambda run=run: run(images.numpy())
            if format == 'openvino':
                session = openvino_session(path, torch.get_num_threads(), 'bf16')
                yield 'OpenVINO, bf16', lambda run=session.run: run(dict(images=images.numpy()))


def file_settings(files: Sequence[str], sizes: Iterable[tuple[int, int]]) -> Iterator[Setting]:
    """Yields exported files, from a picture of each size in memory to boxes, masks or a map; OpenVINO's in bf16, too.

    Raises:
        CheckpointError: a file can't be used.
    """
    for size, file in product(sizes, files):
        for precision in ('float32', 'bf16') if Path(file).suffix == '.xml' else (None,):
            model = load_file(file, precision)
            image = verification_images(size, channels=model.channels)[0]
            image = image.astype(np.float32) if model.bands else image
            name = f'{Path(file).name}, bf16' if precision == 'bf16' else Path(file).name
            yield Setting(f'picture of {size[0]} × {size[1]}', name, 1, 'image', reports_memory=False,
                          forward=lambda model=model, image=image: model(image),
                          options=dict(file=Path(file).name, height=size[0], width=size[1]))


def backbone_settings(args: Namespace) -> Iterator[Setting]:
    """Yields backbones with random weights, from normalised images to maps: `args.archs`, and beside them `args.peers`,
    each in PyTorch, fused, in float32 and by autocast in bfloat16, and exported."""
    for size in args.sizes:
        images = torch.randn(1, 3, *size)
        for name in (*args.archs, *(args.peers or ())):
            peer = name not in args.archs
            eager = build_peer(name, size) if peer else MambaVision(name, window_padding='fit')
            eager.eval()  # mmdet's Swin returns None
            exportable = Exportable('backbone', _Maps(eager), ('images',), tuple(f'stage{i}' for i in range(1, 5))) \
                if peer else build_exportable(eager, 'backbone')
            if hasattr(eager, 'fuse'):
                eager.fuse()
            calls = {'PyTorch': partial(_autocast, eager, images, False),
                     'PyTorch, bf16': partial(_autocast, eager, images, True),
                     **dict(_exported_calls(exportable, images, args.inductor))}
            for run, call in calls.items():
                amp = 'bf16' if run.endswith('bf16') else 'none'
                yield Setting(f'backbone, 1 × 3 × {size[0]} × {size[1]}', f'{name}, {run}', 1, 'image', forward=call,
                              reports_memory=False, options=dict(
                                  model=name, peer=peer, variant=[run.removesuffix(', bf16')], amp=amp, height=size[0],
                                  width=size[1]))


def _autocast(model: nn.Module, images: Tensor, enabled: bool) -> object:
    with torch.autocast('cpu', torch.bfloat16, enabled=enabled):
        return model(images)


class _Maps(nn.Module):
    """A backbone whose maps are a tuple, as exporters want it."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.model(images))


def export_settings(args: Namespace) -> Iterator[Setting]:
    """Yields the model plain, fused, compiled in each of `args.modes`, and exported, run with as many threads as torch.

    Of `args.configs` that are exported files, see `file_settings`.

    Raises:
        ConfigError: another device than a CPU. CheckpointError: a file can't be used.
    """
    if args.device.type != 'cpu':
        raise ConfigError('benchmark export runs on the CPU: --device cpu')
    files = [config for config in args.configs if is_exported(config)]
    yield from file_settings(files, args.sizes)
    configs = [config for config in args.configs if config not in files]
    if configs or args.archs:
        require('benchmark export', 'export', 'onnx', 'onnxruntime')
    yield from backbone_settings(args)
    for config, size in product(configs, args.sizes):
        model = build_model(config, args.cfg_options, 'segmentor', size).eval()
        exportable = build_exportable(model, 'segmentor')
        images = torch.randn(1, 3, *size)

        def plain(images=images, model=model):
            meta = dict(img_shape=images.shape[2:], pad_shape=images.shape[2:])
            return label_map(model.encode_decode(images, [meta]), model.decode_head)

        def count(phase, model=model, plain=plain):
            return count_flops(plain, model, phase)
        calls = {'PyTorch': (plain, True), 'PyTorch, fused': (lambda graph=exportable.graph, x=images: graph(x), True)}
        for mode in args.modes:
            compiled = torch.compile(exportable.graph, mode=mode)
            calls[f'torch.compile, {mode}'] = (lambda graph=compiled, x=images: graph(x), True)
        calls.update((name, (call, False)) for name, call in _exported_calls(exportable, images, args.inductor))
        for name, (call, reports_memory) in calls.items():
            yield Setting(f'{Path(config).stem}, 1 × 3 × {size[0]} × {size[1]}', name, 1, 'image', forward=call,
                          count=count, reports_memory=reports_memory,
                          options=dict(config=Path(config).name, height=size[0], width=size[1]))
