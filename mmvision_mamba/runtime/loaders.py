"""Load exported files of any format, run by torch, onnxruntime, OpenVINO or MNN: as functions of arrays, or `Model`s.

    python -m mmvision_mamba.runtime.loaders model.pt2 photo.jpg more_photos/ --out-dir out
"""
import contextlib
import json
import logging
import os
import platform
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from ..errors import MissingExtraError, require
from ..printable import shown
from .mnn_files import mnn_module
from .openvino_files import openvino_session
from .standalone import Model, RuntimeInputError, Session, main

_TENSORS = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
_MOST_ABOUT = 2**24  # bytes


def load(path: Path, format: str) -> Callable[..., list[np.ndarray]]:
    """Load an exported file as a function from NumPy arrays to the list of its outputs, in order.

    Args:
        path: the file.
        format: one of `export.FORMATS`.

    Raises:
        MissingExtraError: onnxruntime, OpenVINO or MNN isn't installed.
    """
    if format == 'openvino':
        session = openvino_session(path, torch.get_num_threads())
        return lambda *inputs: session.run(dict(zip(session.inputs, inputs)))
    if format == 'onnx':
        require('running an ONNX file', 'export', 'onnxruntime')
        loaded = onnx_session(path)
        names = [entry.name for entry in loaded.get_inputs()]
        return lambda *inputs: loaded.run(None, dict(zip(names, inputs)))
    if format == 'mnn':
        return mnn_module(path, torch.get_num_threads())[0]
    return _torch_module(path, format)[0]


def load_model(path: str | Path, format: str | None = None, threads: int | None = None,
               precision: str | None = None) -> Model:
    """Load an exported file of any format as a `runtime.standalone.Model`, which takes images.

    Args:
        path: the file.
        format: as for `load`. Default: told by the file.
        threads: of torch, onnxruntime, OpenVINO or MNN. Default: their own choice.
        precision: that an OpenVINO file is computed in, 'float32' or 'bf16'. Default: 'float32'; of other formats, what
            they were exported in.

    Raises:
        RuntimeInputError: no such file, or none that `mmvision-mamba export` wrote.
        MissingExtraError: onnxruntime, OpenVINO or MNN isn't installed.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise RuntimeInputError(f'{path}: no such file')
    format = format or _format_of(path)
    if format == 'openvino':
        return Model(path, session=openvino_session(path, threads, precision))
    if precision not in (None, 'float32'):
        raise RuntimeInputError(f'{path}: {precision} is for files of OpenVINO; others compute in what they were '
                                'exported in')
    if format == 'onnx':
        return Model(path, threads=threads)
    if threads and format != 'mnn':
        torch.set_num_threads(threads)
    try:
        run, metadata = mnn_module(path, threads) if format == 'mnn' else _torch_module(path, format)
    except (RuntimeInputError, MissingExtraError):
        raise
    except Exception as error:  # torch's loaders raise what they meet
        raise RuntimeInputError(f'{path} can not be loaded: {_one_line(error)}') from error
    about = {}
    for key, fits in (('inputs', _are_inputs), ('outputs', _are_outputs)):
        try:
            about[key] = json.loads(metadata.get(key, 'null'))
        except (ValueError, RecursionError):
            about[key] = ...
        if about[key] is not None and not fits(about[key]):
            raise RuntimeInputError(f'{path}: {key} in its metadata must be names, of inputs with type and shape, got '
                                    f'{shown(metadata[key], 100)}\nExport it again: `mmvision-mamba export` writes it')
    if None in about.values():
        raise RuntimeInputError(f'{path}: no inputs in its metadata, which earlier versions did not write: export it '
                                'again, or prepare its input with your own code')
    inputs = {name: (entry['type'], entry['shape']) for name, entry in about['inputs'].items()}

    def run_on(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return run(*map(np.ascontiguousarray, feed.values()))
        except (MemoryError, RuntimeInputError):
            raise
        except Exception as error:  # a program raises what it likes
            raise RuntimeInputError(f'{path} can not be run on this image: {_one_line(error)}') from error
    return Model(path, session=Session(run_on, inputs, about['outputs'], metadata))


def _one_line(error: Exception) -> str:
    return shown(' '.join(shown(error).split())) or type(error).__name__


def files_of(path: str | os.PathLike) -> list[Path]:
    """The files that an exported model lies in: that one, and its weights where they lie beside it."""
    path = Path(path)
    beside = path.with_suffix('.bin') if path.suffix == '.xml' else path.with_name(f'{path.name}.data')
    return [path, *([beside] if path.suffix != '.mnn' and beside.is_file() else [])]


def _are_inputs(value) -> bool:
    return isinstance(value, dict) and len(value) > 0 and all(
        isinstance(entry, dict) and isinstance(entry.get('type'), str) and isinstance(entry.get('shape'), list)
        for entry in value.values())


def _are_outputs(value) -> bool:
    return isinstance(value, list) and len(value) > 0 and all(isinstance(name, str) for name in value)


def _format_of(path: Path) -> str:
    if path.suffix in ('.xml', '.mnn'):
        return {'.xml': 'openvino', '.mnn': 'mnn'}[path.suffix]
    if path.suffix != '.pt2':
        return 'torchscript' if path.suffix == '.pt' else 'onnx'
    try:
        with zipfile.ZipFile(path) as archive:
            return 'aot-inductor' if any('aotinductor' in name for name in archive.namelist()) else 'torch-export'
    except (zipfile.BadZipFile, OSError) as error:
        raise RuntimeInputError(f'{path} can not be loaded: {error}') from error


def _torch_module(path: Path, format: str) -> tuple[Callable[..., list[np.ndarray]], dict[str, str]]:
    """A file of one of torch's formats as a function of arrays, and its metadata, each value as JSON."""
    files = {'metadata.json': ''}
    with quiet():
        if format == 'aot-inductor':
            _check_processor(path)
            from torch._inductor import aoti_load_package
            module = aoti_load_package(str(path))
            metadata = dict(module.loader.get_metadata())
        else:
            if format == 'torchscript':
                module = torch.jit.load(str(path), _extra_files=files)
            else:
                with _tensors_alone():
                    module = torch.export.load(str(path), extra_files=files).module()
            text = files['metadata.json'] or '{}'
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError('its metadata.json is no object')
            metadata = {key: json.dumps(value) for key, value in values.items()}

    def run(*inputs):
        with torch.no_grad():
            return [out.numpy() for out in module(*map(torch.from_numpy, inputs))]
    return run, metadata


@contextlib.contextmanager
def _tensors_alone() -> Iterator[None]:
    """Have torch read pickles of tensors alone, where its own loader would take any, which may run code."""
    # torch 2.14 has no seam here: `torch.export.load` passes weights_only=False on.
    before = os.environ.get(_TENSORS)
    os.environ[_TENSORS] = '1'
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_TENSORS, None)
        else:
            os.environ[_TENSORS] = before


def _check_processor(path: Path) -> None:
    """Raise RuntimeInputError for a package of kernels for another processor, before any of them is loaded."""
    here = sys.platform, platform.machine()
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if not entry.filename.endswith('_metadata.json') or entry.file_size > _MOST_ABOUT:
                continue
            about = json.loads(archive.read(entry))
            about = about if isinstance(about, dict) else {}
            made_on = tuple(about.get(key, value) for key, value in zip(('AOTI_PLATFORM', 'AOTI_MACHINE'), here))
            needed = str(about.get('AOTI_CPU_ISA', '')).lower().split() if here[1] in ('x86_64', 'AMD64') else []
            missing = sorted({flag for flag in needed if flag.startswith(('avx', 'amx'))} - _instructions()) \
                if made_on == here else []
            if made_on != here or missing:
                what = f'{made_on[0]}, {made_on[1]}' if made_on != here else f'processors with {", ".join(missing)}'
                raise RuntimeInputError(f'{path} is compiled for {shown(what, 100)}, and this is '
                                        f'{"none" if missing else ", ".join(here)}.\nExport it on such a machine, or '
                                        'as --format onnx, which any runs')


def _instructions() -> set[str]:
    """The vector instructions of this processor, as torch names them."""
    from torch._inductor.cpu_vec_isa import x86_isa_checker
    return {str(flag).lower() for flag in x86_isa_checker()}


def onnx_session(path: Path, threads: int | None = None):
    """An onnxruntime session on the CPU; `threads` is torch's number by default."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 4  # as `standalone.onnx_session`
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' warnings of each size that becomes a constant, as intended."""
    level = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)


if __name__ == '__main__':
    sys.exit(main(load=load_model))
