"""Bytes of `.safetensors` files, sound and broken, written without the library of that name."""
import json
import struct


def file_of(header: dict | bytes, content: bytes = b'', length: int | None = None) -> bytes:
    """A file with that header, as it is or as JSON, which says that it has `length` bytes; default: what it has."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack('<Q', len(text) if length is None else length) + text + content


def entry(begin: int = 0, end: int = 4, shape: object = (1,), dtype: object = 'F32') -> dict:
    """What a header says of a tensor; by default, of one float32 at the start."""
    return dict(dtype=dtype, shape=shape, data_offsets=(begin, end))
