"""MNN's files, one .mnn with graph, weights and our metadata, run by MNN on the CPU."""
import contextlib
import ctypes
import hashlib
import json
import mmap
import os
import re
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import require
from .standalone import RuntimeInputError

ABOUT = 'mmvision_mamba'  # the key of the metadata in the text that MNN keeps for users, its bizCode
HEAD = b'{"sha256": "'  # how that text begins; the digest of the file follows
UNSIGNED = b'0' * 64  # what stands in the digest's place while it is computed
_DIGEST = re.compile(re.escape(HEAD) + rb'([0-9a-f]{64})"')
_MOST_ABOUT = 2**24  # bytes
# A hint and its value, WINOGRAD_MEMORY_LEVEL: without, 3 × 3 convolutions of large maps are off by 2e-4 of the largest
# value, and not faster.
_NO_WINOGRAD = 3, 0
_MOST = 2**31  # bytes of a file: MNN's offsets are of 32 bits


class Text(NamedTuple):
    """Where a file's bizCode is: the position of the offset that leads to it, of its first byte, and its length."""
    offset: int
    start: int
    length: int


def biz_code(content) -> Text | None:
    """Find the bizCode, the first field of the root table of a file's FlatBuffer; None where there is none.

    Args:
        content: bytes, or what is like them.

    Raises:
        struct.error: an offset leads out of the file.
    """
    root, = struct.unpack_from('<I', content, 0)
    fields = root - struct.unpack_from('<i', content, root)[0]
    if fields < 0 or struct.unpack_from('<H', content, fields)[0] < 6:
        return None
    field, = struct.unpack_from('<H', content, fields + 4)
    if not field:
        return None
    offset = root + field
    start = offset + struct.unpack_from('<I', content, offset)[0]
    length, = struct.unpack_from('<I', content, start)
    if start + 4 + length > len(content):
        return None
    return Text(offset, start + 4, length)


def digest(content, start: int) -> str:
    """The SHA-256 of a file whose bizCode begins at `start`, without the digest that stands in it."""
    place = start + len(HEAD)
    found = hashlib.sha256()
    with memoryview(content) as view:
        for part in (view[:place], UNSIGNED, view[place + len(UNSIGNED):]):
            found.update(part)
            if isinstance(part, memoryview):
                part.release()
    return found.hexdigest()


def about_mnn(path: str | Path) -> dict[str, str]:
    """The metadata of an MNN file that is as `mmvision-mamba export` wrote it, byte for byte. Nothing of it is loaded.

    Raises:
        RuntimeInputError: it is none of MNN's, has no metadata of ours, or has been changed or cut off since.
    """
    try:
        with open(path, 'rb') as file:
            if not 8 < os.fstat(file.fileno()).st_size < _MOST:
                raise RuntimeInputError(f'{path} can not be loaded: it is no file of MNN, which has at most 2 GB')
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return _about(content, path)
    except OSError as error:
        raise RuntimeInputError(f'{path} can not be loaded: {error.strerror or error}') from error


def _about(content: mmap.mmap, path: str | Path) -> dict[str, str]:
    try:
        found = biz_code(content)
    except struct.error as error:
        raise RuntimeInputError(f'{path} can not be loaded: it is no file of MNN, or cut off') from error
    text = content[found.start:found.start + found.length] if found and found.length <= _MOST_ABOUT else b''
    signed = _DIGEST.match(text)
    if not signed:
        raise RuntimeInputError(f"{path} can not be loaded: it is no file of MNN, cut off, or has no 'task' in its "
                                'metadata: `mmvision-mamba export --format mnn` writes one')
    if digest(content, found.start) != signed[1].decode():
        raise RuntimeInputError(f'{path} can not be loaded: it is damaged, for its content is not what '
                                '`mmvision-mamba export` wrote.\nCopy it again, or export it again')
    try:
        about = json.loads(text)[ABOUT]
    except (ValueError, KeyError, RecursionError):
        about = {}
    return {key: value for key, value in about.items() if isinstance(value, str)} if isinstance(about, dict) else {}


def mnn_module(path: str | Path, threads: int | None = None) -> tuple[Callable[..., list[np.ndarray]], dict[str, str]]:
    """A file of MNN's as a function of arrays, computed in float32, and its metadata, each value as JSON.

    Args:
        path: the file.
        threads: to compute with. Default: one per core.

    Raises:
        RuntimeInputError: it can't be loaded; the function raises it where it can't be run.
        MissingExtraError: MNN isn't installed.
    """
    metadata = about_mnn(path)
    require_mnn('running an MNN file')
    import MNN.expr as expr
    import MNN.nn
    try:
        with _silent():  # it tells that its precision is high
            runtime = MNN.nn.create_runtime_manager((dict(backend='CPU', precision='high',
                                                          numThread=threads or os.cpu_count() or 1),))
        runtime.set_hint(*_NO_WINOGRAD)
        module = MNN.nn.load_module_from_file(str(path), [], [], runtime_manager=runtime)
        names = module.get_info()['outputNames']
    except Exception as error:  # MNN raises SystemError, whatever it was
        raise RuntimeInputError(f'{path} can not be loaded: MNN does not take it') from error
    types, lock = {'float32': expr.float, 'int32': expr.int, 'uint8': expr.uint8}, threading.Lock()

    def given(array: np.ndarray):
        array = array.astype(np.int32) if array.dtype == np.int64 else array  # MNN has no int64
        return expr.const(np.ascontiguousarray(array), list(array.shape), expr.NCHW, types[array.dtype.name])

    def taken(name: str, value) -> np.ndarray:
        if 0 in value.shape:  # whose content can't be read
            array = np.zeros(value.shape, np.float32 if value.dtype == expr.float else np.int32)
        else:
            array = np.array(expr.convert(value, expr.NCHW).read())
        return array.astype(np.int64) if array.dtype == np.int32 and name != 'masks' else array

    def run(*inputs: np.ndarray) -> list[np.ndarray]:
        try:
            with lock:
                found = module.forward([given(array) for array in inputs])
                found = found if isinstance(found, (list, tuple)) else [found]
                outputs = [taken(*pair) for pair in zip(names, found)]
        except Exception as error:  # the same
            raise RuntimeInputError(f'{path} can not be run on this image: MNN says {type(error).__name__}') from error
        if len(outputs) != len(names):
            raise RuntimeInputError(f'{path} can not be run on this image: MNN gives no result')
        return outputs
    return run, metadata


def require_mnn(what: str) -> None:
    """Import MNN; raise MissingExtraError where it isn't installed."""
    with _silent() if 'MNN' not in sys.modules else contextlib.nullcontext():
        require(what, 'mnn', 'MNN')


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Drop what libraries write to the standard output, past Python: MNN tells of the processor as it is imported."""
    sys.stdout.flush()
    kept = os.dup(1)
    try:
        with open(os.devnull, 'wb') as nowhere:
            os.dup2(nowhere.fileno(), 1)
        yield
        with contextlib.suppress(OSError, TypeError, AttributeError):  # Windows has no library of that name
            ctypes.CDLL(None).fflush(None)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
