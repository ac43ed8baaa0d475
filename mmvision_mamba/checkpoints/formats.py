"""Loads a checkpoint file of either format, told by its content: what `torch.save` writes, or safetensors."""
import contextlib
import os
from typing import Any, BinaryIO

import torch

from ..files import open_file
from . import archives, safetensors_files


def load(file: str | os.PathLike | BinaryIO, map_location: Any = 'cpu', lazy: bool = False) -> Any:
    """The content of a checkpoint file: plain data and dense tensors, checked before anything is made of it.

    Args:
        file: path, or a file opened for reading bytes that can seek.
        map_location: device of the tensors; anything else than a device or its name: the CPU. Default: 'cpu'.
        lazy: with a path, read the bytes of tensors when they are used, and compare no checksum; those of safetensors,
            which has none, are always read so. Default: False.

    Raises:
        Refused, ForeignClass: it holds what no checkpoint needs.
        zipfile.BadZipFile: a record isn't what its checksum says.
        Exception: anything, where it is broken.
    """
    device = torch.device(map_location if isinstance(map_location, str | torch.device) else 'cpu')
    path = None if hasattr(file, 'read') else file
    with contextlib.nullcontext(file) if path is None else open_file(path) as stream:  # type: ignore[arg-type]
        if safetensors_files.is_safetensors(stream):
            return safetensors_files.load(stream, path, device)
        return archives.load(stream, device, path if lazy else None)
