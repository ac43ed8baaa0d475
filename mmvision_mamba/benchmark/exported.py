"""Settings of one segmentor, from image to label map, in PyTorch and exported; and of exported files."""
import tempfile
from argparse import Namespace
from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch

from ..configs import is_exported
from ..costs.flops import count_flops
from ..errors import ConfigError, require
from ..export import FORMATS, formats
from ..export.parts import build_exportable
from ..export.segmentor import label_map
from ..export.verify import verification_images
from ..inference.exported import load_file
from ..installation import installed
from ..runtime import loaders
from ..runtime.openvino_files import openvino_session
from .experiments import build_model
from .setting import Setting

_NAMES = {'onnx': 'onnxruntime', 'openvino': 'OpenVINO', 'aot-inductor': 'AOTInductor'}


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
    if configs:
        require('benchmark export', 'export', 'onnx', 'onnxruntime')
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
        for format in ('onnx', *(['openvino'] if installed('openvino') else []),
                       *(['aot-inductor'] if args.inductor else [])):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f'model{FORMATS[format]}'
                formats.write(exportable, path, format, [images])
                run = loaders.load(path, format)
                calls[_NAMES[format]] = (lambda run=run, x=images: run(x.numpy()), False)
                if format == 'openvino':
                    session = openvino_session(path, torch.get_num_threads(), 'bf16')
                    calls['OpenVINO, bf16'] = (lambda run=session.run, x=images: run(dict(images=x.numpy())), False)
        for name, (call, reports_memory) in calls.items():
            yield Setting(f'{Path(config).stem}, 1 × 3 × {size[0]} × {size[1]}', name, 1, 'image', forward=call,
                          count=count, reports_memory=reports_memory,
                          options=dict(config=Path(config).name, height=size[0], width=size[1]))
