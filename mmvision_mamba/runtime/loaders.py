"""Load exported files of any format as functions of NumPy arrays, run by torch or onnxruntime."""
import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from ..errors import require


def load(path: Path, format: str) -> Callable[..., list[np.ndarray]]:
    """Load an exported file as a function from NumPy arrays to the list of its outputs, in order.

    Args:
        path: the file.
        format: 'onnx', 'torchscript', 'torch-export' or 'aot-inductor'.

    Raises:
        MissingExtraError: onnxruntime isn't installed.
    """
    if format == 'onnx':
        require('running an ONNX file', 'export', 'onnxruntime')
        session = onnx_session(path)
        names = [entry.name for entry in session.get_inputs()]
        return lambda *inputs: session.run(None, dict(zip(names, inputs)))
    with quiet():
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
    """An onnxruntime session on the CPU; `threads` is torch's number by default."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or torch.get_num_threads()
    options.log_severity_level = 3
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
