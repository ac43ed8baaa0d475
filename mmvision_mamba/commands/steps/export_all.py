"""`export --all`: every format that a model has, made, verified, timed and measured side by side."""
import argparse
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from ...benchmark.setting import Setting
from ...benchmark.timing import measure
from ...configs import is_exported
from ...errors import ConfigError, UserError
from ...export import FORMATS
from ...export.verify import verification_images
from ...files import read_text
from ...inference import Inferencer
from ...preflight.check_data import check_datasets
from ...preflight.read import read_config
from ...printable import shown
from ...runtime import loaders
from ...text import as_text

_VARIANTS: dict[str, dict[str, Any]] = {
    'onnx': dict(format='onnx'), 'onnx-fp16': dict(format='onnx', fp16=True),
    'onnx-int8': dict(format='onnx', int8='static'), 'openvino': dict(format='openvino'),
    'openvino-fp16': dict(format='openvino', fp16=True), 'openvino-int8': dict(format='openvino', int8='static'),
    'mnn': dict(format='mnn'), 'mnn-fp16': dict(format='mnn', fp16=True),
    'mnn-int8': dict(format='mnn', int8='weights'),
    'torch-export': dict(format='torch-export'),
    'torchscript': dict(format='torchscript'), 'aot-inductor': dict(format='aot-inductor')}
_METRICS = 'mAP', 'mIoU', 'PQ'  # the endings of those that the table has
_TITLES = 'format', 'file', 'size', 'time', 'metric', 'checks passed'
_ROUNDS = 5


class Made(NamedTuple):
    """A file: its part of the model, its path, and how many checks it passed."""
    part: str
    path: Path
    checks: int


def export_all(args: argparse.Namespace, export: Callable[[argparse.Namespace], Made],
               test: Callable[..., object]) -> int:
    """Make every format that a model has, and print the table of all; returns the exit code, 1 where there is none.

    Args:
        args: of the command `export`, with a folder as `out`.
        export: makes one file of such arguments.
        test: the command `test`, called by the names of its options.
    """
    for option in ('format', 'fp16', 'int8'):
        if getattr(args, option) not in (None, False):
            raise ConfigError(f'--{option} goes without --all, which makes every format')
    folder = args.out or Path('work_dirs') / Path(args.config).stem / 'exported'
    if folder.is_file() or folder.suffix in FORMATS.values():
        raise ConfigError(f'--out: with --all a folder, got {shown(folder)}')
    made: dict[str, Made] = {}
    reasons: dict[str, str] = {}
    for name, options in _VARIANTS.items():
        path = folder / f'{name}{FORMATS[options["format"]]}'
        print(f'[{name}]', flush=True)
        try:
            images = args.int8_images if 'int8' in options else None
            made[name] = export(argparse.Namespace(**{**vars(args), 'int8_images': images, **options, 'out': path}))
        except UserError as error:
            reasons[name] = str(error).splitlines()[0]
            print(f'error: {reasons[name]}', flush=True)
    rows = _measured(args, made, test) if made else []
    print('\n' + as_text(_TITLES, rows, left=2))
    for name, reason in reasons.items():
        print(f'not made: {name}: {shown(reason, 300)}')
    return int(not made)


def _measured(args: argparse.Namespace, made: dict[str, Made], test: Callable[..., object]) -> list[list[str]]:
    """The table's rows, the checkpoint first."""
    wanted: dict[str, tuple[str, str | None]] = {'PyTorch': (args.checkpoint, None)}  # (file, dtype)
    for name, file in made.items():
        wanted[name] = str(file.path), None
        if name == 'openvino':
            wanted['openvino, bf16'] = str(file.path), 'bf16'
    part = next(iter(made.values())).part
    times = _times(args, part, wanted)
    metrics = {} if part == 'backbone' else _metrics(args, wanted, test)
    rows = []
    for name, (path, dtype) in wanted.items():
        file = made.get(name)
        size = sum(one.stat().st_size for one in loaders.files_of(path)) if file else None
        rows.append([name, Path(path).name, f'{size / 1e6:,.1f} MB' if size else '', times[name],
                     metrics.get(name, 'not measured'), str(file.checks) if file else 'not checked' if dtype else ''])
    return rows


def _times(args: argparse.Namespace, part: str, files: dict[str, tuple[str, str | None]]) -> dict[str, str]:
    """Milliseconds from an image, or for a backbone its input, to the result; the median of several turns."""
    settings = []
    for name, (path, dtype) in files.items():
        if part == 'backbone':
            if not is_exported(path):
                continue
            run, shape = loaders.load(Path(path), _format(path)), (args.batch, 3, *args.shape)
            images = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
            call: Callable[[], object] = lambda run=run, images=images: run(images)  # noqa: E731
        else:
            given = (path, None) if is_exported(path) else (args.config, path)
            inferencer = Inferencer(*given, 'cpu', None if is_exported(path) else args.cfg_options,
                                    show_progress=False, dtype=dtype or 'float32')
            call = _prediction(inferencer, args.shape)
        settings.append(Setting('', name, 1, 'image', forward=call, reports_memory=False))
    rows = measure(settings, torch.device('cpu'), _ROUNDS, training=False)
    found = {row['name']: f'{statistics.median(row["forward"]["samples_ms"]):.1f} ms' for row in rows
             if row['error'] is None}
    return {name: found.get(name, 'not measured') for name in files}


def _prediction(inferencer: Inferencer, shape: tuple[int, int]) -> Callable[[], object]:
    bands = inferencer.toolbox.bands
    count = 3 if bands is None else len(bands.loader.bands)
    image = verification_images(tuple(shape), channels=count)[0]
    image = image if bands is None else image.astype(np.float32)
    return lambda: inferencer.predict(image)


def _format(path: str) -> str:
    return next(str(options['format']) for name, options in _VARIANTS.items() if Path(path).stem == name)


def _metrics(args: argparse.Namespace, files: dict[str, tuple[str, str | None]],
             test: Callable[..., object]) -> dict[str, str]:
    """The metrics of each file on the config's test data; none where these are not there, and why is printed."""
    try:
        check_datasets(read_config(args.config, args.cfg_options, trained=True), ('test',))
    except UserError as error:
        print(f'metrics are not measured: {str(error).splitlines()[0]}')
        return {}
    found = {}
    for name, (path, dtype) in files.items():
        print(f'[test {name}]', flush=True)
        options = dict(args.cfg_options or {})
        if is_exported(path):  # whose model is made with them
            options = {key: value for key, value in options.items() if key.split('.')[0] != 'model'}
        with tempfile.TemporaryDirectory() as work_dir:
            test(config=args.config, checkpoint=path, work_dir=work_dir, cfg_options=options, dtype=dtype,
                 no_report=True)
            values = json.loads(read_text(Path(work_dir, 'metrics.json')))
        found[name] = ', '.join(f'{key.rpartition("/")[2]} {value:.4g}' for key, value in values.items()
                                if key.endswith(_METRICS) and value is not None) or 'none'
    return found
