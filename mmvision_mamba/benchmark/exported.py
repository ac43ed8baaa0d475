"""Settings of one segmentor, from image to label map, in PyTorch and exported."""
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import torch

from ..costs.flops import count_flops
from ..errors import ConfigError, require
from ..export import FORMATS, formats
from ..export.parts import build_exportable
from ..export.segmentor import label_map
from ..runtime import loaders
from .experiments import build_model
from .setting import Setting


def export_settings(args: Namespace) -> Iterator[Setting]:
    """Yields the model plain, fused, compiled in each of `args.modes`, and exported, run with as many threads as torch.

    Raises:
        ConfigError: another device than a CPU.
    """
    if args.device.type != 'cpu':
        raise ConfigError('benchmark export runs on the CPU: --device cpu')
    require('benchmark export', 'export', 'onnx', 'onnxruntime')
    for config, size in product(args.configs, args.sizes):
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
        for format in ('onnx', *(['aot-inductor'] if args.inductor else [])):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f'model{FORMATS[format]}'
                formats.write(exportable, path, format, [images])
                run = loaders.load(path, format)
            name = 'onnxruntime' if format == 'onnx' else 'AOTInductor'
            calls[name] = (lambda run=run, x=images: run(x.numpy()), False)
        for name, (call, reports_memory) in calls.items():
            yield Setting(f'{Path(config).stem}, 1 × 3 × {size[0]} × {size[1]}', name, 1, 'image', forward=call,
                          count=count, reports_memory=reports_memory,
                          options=dict(config=Path(config).name, height=size[0], width=size[1]))
