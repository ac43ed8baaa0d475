"""Reads `.safetensors`: a header in JSON, checked here, and the bytes of tensors, which the library of that name maps.

Such a file holds dense tensors alone. Nothing is made of a header, which may say anything, before all of it is known to
be true: each tensor has its own bytes, these follow each other without gaps, and the file has just as many.
"""
import json
import math
import os
import struct
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..installation import explaining
from ..printable import shown
from .refused import Refused

DTYPES = dict(F64=8, F32=4, F16=2, BF16=2, I64=8, I32=4, I16=2, I8=1, U8=1, BOOL=1)  # bytes of an element
LARGEST_HEADER = 2**22  # bytes; of the largest published model it has 300,000
MOST_SIDES = 16
_METADATA = '__metadata__'
_KEYS = {'dtype', 'shape', 'data_offsets'}
_WAY_OUT = "Ask its author for a file as the library safetensors writes it, of a model's weights."


def is_safetensors(stream: BinaryIO) -> bool:
    """Whether a file begins as one does; neither a zip archive nor a pickle of tensors does. Reads from its start."""
    stream.seek(0)
    start = stream.read(9)
    return start[8:] == b'{'


def load(stream: BinaryIO, path: str | os.PathLike | None, device: torch.device) -> dict[str, Tensor]:
    """The tensors of a file by name.

    Args:
        stream: the file, opened for reading bytes.
        path: its path, to read the bytes of a tensor when they are used, for as long as the tensor is there. None: all
            are read at once.
        device: of the tensors.

    Raises:
        Refused: the header says what can't be, or asks for what no model has.
        EOFError: the file ends too early.
    """
    names = check_header(stream)
    with explaining('reading safetensors'):
        from safetensors import safe_open
        from safetensors.torch import load as load_bytes
    if path is None:
        stream.seek(0)
        tensors = load_bytes(stream.read())
    else:
        with safe_open(os.fspath(path), 'pt') as file:  # type: ignore[no-untyped-call]
            tensors = {name: file.get_tensor(name) for name in names}
    return {name: tensors[name].to(device) for name in names}


def check_header(stream: BinaryIO) -> list[str]:
    """The names of a file's tensors, in the order of their bytes; raises as `load` does."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    start = stream.read(8)
    if len(start) < 8:
        raise EOFError
    length, = struct.unpack('<Q', start)
    if length > LARGEST_HEADER:
        raise _refused(f'a header of {length} bytes, more than {LARGEST_HEADER}')
    if len(text := stream.read(length)) < length:
        raise EOFError
    tensors = _parsed(text)
    tensors.pop(_METADATA, None)
    content, end = size - 8 - length, 0
    places = sorted((*_place(name, entry), name) for name, entry in tensors.items())
    if places and max(stop for _, stop, _ in places) > content:
        raise EOFError
    for begin, stop, name in places:
        if begin != end:
            raise _refused(f'{"overlapping tensors" if begin < end else "bytes of no tensor"}, at {shown(name, 100)}')
        end = stop
    if end < content:
        raise _refused(f'{content - end} bytes behind its tensors')
    return [name for _, _, name in places]


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        found = json.loads(text.decode(), object_pairs_hook=_without_doubles)
    except Refused:
        raise
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _refused('a header that is no JSON object')
    metadata = found.get(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _refused(f'a {_METADATA} that is not text by name')
    return found


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _refused(f'{shown(key, 100)} twice')
        found[key] = value
    return found


def _place(name: str, entry: Any) -> tuple[int, int]:
    """Where a tensor's bytes begin and end behind the header."""
    where = shown(name, 100)
    if not isinstance(entry, dict) or entry.keys() != _KEYS:
        raise _refused(f'{where} without dtype, shape and data_offsets, or with more')
    dtype, shape, offsets = entry['dtype'], entry['shape'], entry['data_offsets']
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _refused(f'{where} of the dtype {shown(dtype, 40)}, in which no model is trained')
    if not _are_sizes(shape) or len(shape) > MOST_SIDES:
        raise _refused(f'{where} of the shape {shown(shape, 60)}')
    if not _are_sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _refused(f'{where} at {shown(offsets, 60)}')
    needed, found = math.prod(shape) * DTYPES[dtype], offsets[1] - offsets[0]
    if found != needed or (not needed and any(side >= 2**31 for side in shape)):
        raise _refused(f'{where} in {found} bytes, where {dtype} of {shown(shape, 60)} takes {needed}')
    return offsets[0], offsets[1]


def _are_sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(n) is int and 0 <= n < 2**62 for n in values)


def _refused(what: str) -> Refused:
    return Refused(what, _WAY_OUT)
