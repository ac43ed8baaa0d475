"""OpenVINO's files, a graph in .xml with its weights in .bin beside it, run by OpenVINO on the CPU."""
import threading
from pathlib import Path
from xml.parsers import expat

import numpy as np

from ..errors import require
from .standalone import RuntimeInputError, Session, check_weights

ABOUT = 'mmvision_mamba'  # the part of a model's rt_info that holds the metadata
_HINTS = {None: 'f32', 'float32': 'f32', 'bf16': 'bf16'}
_HEAD = 4096  # bytes in which a graph says what it is
_DEEPEST = 200  # elements within each other; OpenVINO reads its own by recursion, and ends the process at some 10,000


def openvino_session(path: str | Path, threads: int | None = None, precision: str | None = None) -> Session:
    """Load a file of OpenVINO's.

    Args:
        path: the .xml file; its .bin lies beside it.
        threads: to compute with. Default: OpenVINO's choice.
        precision: 'float32', or 'bf16' for a CPU that multiplies in it. Default: 'float32', also where OpenVINO by
            itself would choose bfloat16.

    Raises:
        RuntimeInputError: it can't be loaded; the session raises it where it can't be run.
        MissingExtraError: OpenVINO isn't installed.
    """
    require('running an OpenVINO file', 'openvino', 'openvino')
    import openvino
    settings = {'INFERENCE_PRECISION_HINT': _HINTS[precision], 'PERFORMANCE_HINT': 'LATENCY',
                **({'INFERENCE_NUM_THREADS': threads} if threads else {})}
    try:
        if not is_graph(path):  # else OpenVINO tries the formats of other libraries
            raise ValueError('it is no graph of OpenVINO')
        _check_depth(path)
        core = openvino.Core()
        model = core.read_model(str(path))
        metadata = {key: model.get_rt_info([ABOUT, key]).astype(str) for key in _about(model)}
        check_weights(path, Path(path).with_suffix('.bin'), metadata)
        compiled = core.compile_model(model, 'CPU', settings)
        inputs = {entry.any_name: (entry.element_type.to_dtype().name, [
            side.get_length() if side.is_static else None for side in entry.partial_shape])
            for entry in compiled.inputs}
        outputs = [entry.any_name for entry in compiled.outputs]
        request, lock = compiled.create_infer_request(), threading.Lock()
    except RuntimeInputError:
        raise
    except Exception as error:  # OpenVINO raises RuntimeError, and what its Python part stumbles over
        raise RuntimeInputError(f'{path} can not be loaded: {_reason(error)}') from error

    def run(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            with lock:
                found = request.infer(feed)
                return [np.array(found[entry]) for entry in compiled.outputs]
        except Exception as error:
            raise RuntimeInputError(f'{path} can not be run on this image: {_reason(error)}') from error
    return Session(run, inputs, outputs, metadata)


def is_graph(path: str | Path) -> bool:
    """Whether a file is a graph of OpenVINO's, by its first bytes; OSError where it can't be read."""
    with open(path, 'rb') as file:
        return b'<net' in file.read(_HEAD)


def _check_depth(path: str | Path) -> None:
    """Raise ValueError for a graph that is no XML, or whose elements are nested deeper than any of OpenVINO's."""
    depth = 0

    def enter(*_) -> None:
        nonlocal depth
        depth += 1
        if depth > _DEEPEST:
            raise ValueError(f'its elements are nested more than {_DEEPEST} deep')

    def leave(*_) -> None:
        nonlocal depth
        depth -= 1
    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = enter, leave
    with open(path, 'rb') as file:
        try:
            parser.ParseFile(file)
        except expat.ExpatError as error:
            raise ValueError(f'it is no XML: {error}') from None


def _about(model) -> dict:
    about = model.rt_info[ABOUT] if model.has_rt_info([ABOUT]) else {}
    return about if isinstance(about, dict) else {}


def _reason(error: Exception) -> str:
    """What OpenVINO says, without the places in its source that come before it."""
    lines = [line for line in str(error).splitlines() if line.strip() and not line.startswith('Exception from')]
    return ' '.join(' '.join(lines).split())[:300] or type(error).__name__
