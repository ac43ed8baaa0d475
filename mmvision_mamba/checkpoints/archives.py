"""Loads the files that `torch.save` writes: a zip archive, or, before torch 1.6 and on request, pickles in a row."""
import io
import os
import pickle
import struct
import sys
import zipfile
import zlib
from typing import Any, BinaryIO

import torch
from torch import Tensor

from .trees import Refused
from .unpickling import Storage, unpickle

_MAGIC, _PROTOCOL = pickle.dumps(0x1950a86a20f9469cfc6c, 2), 1001  # at the start of a file without an archive
_HEADER = 30  # bytes of the header before the name of a record in a zip archive
_BLOCK = 2**24


def load(stream: BinaryIO, device: torch.device, path: str | os.PathLike | None = None) -> Any:
    """As `torch.load` with `weights_only=True`, with the checks of `unpickling`.

    Args:
        stream: the file, opened for reading bytes, which can seek.
        device: of the tensors.
        path: of an archive, to read the bytes of tensors when they are used; no checksum then. Default: at once.

    Raises:
        Refused, ForeignClass: it holds what no checkpoint needs.
        zipfile.BadZipFile: a record isn't what its checksum says.
        Exception: anything, where it is broken.
    """
    stream.seek(0)
    if not zipfile.is_zipfile(stream):
        stream.seek(0)
        return _no_storage(_load_pickles(stream, device))
    with zipfile.ZipFile(stream) as archive:
        records = checked_records(archive, stream)
        return _no_storage(_load_archive(archive, records, stream, device, path))


def load_storage(content: bytes) -> Storage:
    """The storage that `pickle`, rather than `torch.save`, keeps of a tensor: a file of its own."""
    storage = _load_pickles(io.BytesIO(content), torch.device('cpu'))
    if not isinstance(storage, Storage):
        raise Refused('a tensor without a storage')
    return storage


def _no_storage(content: Any) -> Any:
    if isinstance(content, Storage):
        raise Refused('a storage without a tensor')
    return content


def checked_records(archive: zipfile.ZipFile, stream: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    """The records of an archive as torch writes it, by their names without the folder that all of them lie in.

    Raises:
        Refused: they are compressed, or claim more bytes than the file has, or the same ones twice, or names twice.
    """
    size = stream.seek(0, os.SEEK_END)
    records = archive.infolist()
    if any(record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size
           for record in records):
        raise Refused('compressed records')
    if sum(record.file_size + _HEADER for record in records) > size:
        raise Refused('records that claim more bytes than the file has')
    folders = {record.filename.partition('/')[0] for record in records}
    names = {record.filename.partition('/')[2]: record for record in records}
    if len(folders) != 1 or len({name.lower() for name in names}) != len(records):
        raise Refused('records of several folders, or of one name')
    if 'constants.pkl' in names:
        raise Refused('a program (TorchScript)')
    return names


def _load_archive(archive: zipfile.ZipFile, records: dict[str, zipfile.ZipInfo], stream: BinaryIO,
                  device: torch.device, path: str | os.PathLike | None) -> Any:
    order = archive.read(records['byteorder']) if 'byteorder' in records else b'little'
    if order not in (b'little', b'big'):
        raise ValueError('an unknown order of bytes')
    storages: dict[str, Tensor] = {}
    whole = None if path is None else _mapped(path)

    def storage(dtype: torch.dtype, key: str, length: int) -> Storage:
        record = records[f'data/{key}']
        if record.file_size != length * dtype.itemsize:
            raise Refused('a storage of another size than its record')
        if key not in storages:
            if whole is not None:
                start = _start(stream, record)
                content = whole[start:start + record.file_size]
            else:
                stream.seek(_start(stream, record))
                content = _read(stream, record.file_size)
                if zlib.crc32(memoryview(content.numpy())) != record.CRC:
                    raise zipfile.BadZipFile(f'Bad CRC-32 for file {record.filename!r}')
            if order.decode() != sys.byteorder:
                content = content.view(-1, dtype.itemsize).flip(1).reshape(-1)
            storages[key] = content.to(device)
        return Storage(storages[key], dtype)

    return unpickle(io.BytesIO(archive.read(records['data.pkl'])), storage)


def _load_pickles(stream: BinaryIO, device: torch.device) -> Any:
    """The format before torch 1.6: pickles of a magic number, a protocol, the machine, the data, its storages' keys."""
    def no_storage(*_):
        raise Refused('a storage before its data')

    if stream.read(len(_MAGIC)) != _MAGIC or unpickle(stream, no_storage) != _PROTOCOL:
        raise ValueError('other magic numbers than torch writes')
    machine = unpickle(stream, no_storage)
    if not isinstance(machine, dict) or machine.get('little_endian') is not True:
        raise ValueError('written on a machine of another byte order')
    start, size = stream.tell(), stream.seek(0, os.SEEK_END)
    stream.seek(start)
    said: dict[str, tuple[torch.dtype, int]] = {}

    def without_content(dtype: torch.dtype, key: str, length: int) -> Storage:
        if said.setdefault(key, (dtype, length)) != (dtype, length):
            raise Refused('a storage in two forms')
        if not 0 <= length * dtype.itemsize <= size:
            raise Refused('a storage that is larger than the file')
        return Storage(torch.empty(length * dtype.itemsize, dtype=torch.uint8, device='meta'), dtype)

    unpickle(stream, without_content)  # to find what lies behind it, which the second time fills the tensors
    storages: dict[str, Tensor] = {}
    for key in unpickle(stream, no_storage):
        dtype, length = said[str(key)]
        if struct.unpack('<q', stream.read(8)) != (length,) or str(key) in storages:
            raise ValueError('a storage of another size than announced')
        storages[str(key)] = _read(stream, length * dtype.itemsize).to(device)
    stream.seek(start)
    return unpickle(stream, lambda dtype, key, length: Storage(storages[key], dtype))


def _read(source: BinaryIO, size: int) -> Tensor:
    """The next bytes of a file, ``(size,)`` uint8."""
    content = torch.empty(size, dtype=torch.uint8)
    view, at = memoryview(content.numpy()), 0  # type: ignore[arg-type]
    while at < size:
        read = source.readinto(view[at:at + _BLOCK])  # type: ignore[attr-defined]
        if not read:
            raise EOFError
        at += read
    return content


def _mapped(path: str | os.PathLike) -> Tensor:
    """A file as ``(size,)`` uint8, whose pages are read as they are used."""
    storage = torch.UntypedStorage.from_file(str(path), False, os.path.getsize(path))
    return torch.empty(0, dtype=torch.uint8).set_(storage)


def _start(stream: BinaryIO, record: zipfile.ZipInfo) -> int:
    """Where a record's content begins."""
    stream.seek(record.header_offset)
    header = stream.read(_HEADER)
    name, extra = struct.unpack('<HH', header[26:30])
    return record.header_offset + _HEADER + name + extra
