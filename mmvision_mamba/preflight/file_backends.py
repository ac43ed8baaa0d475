"""mmengine's file backends, held to what `files` and `downloads` read: regular files alone, requests that end.

Data sets, metrics and transforms of all toolboxes read lists, annotations, images and maps through them. They are held
to it where checkpoints are: in processes that use this package's commands, Runner or Inferencer.
"""
import os
from contextlib import contextmanager

from mmengine.fileio import HTTPBackend, LocalBackend, register_backend

from ..checkpoints import safe_reading_enforced
from ..downloads import fetch
from ..errors import DataError
from ..files import open_file, read_bytes
from ..limits import IMAGE_SECONDS, TEXT_BYTES
from ..printable import shown


class UnreadableFile(DataError, OSError):
    """A file that can't be read; `strerror` is the reason without its name."""

    def __init__(self, path: object, reason: object):
        super().__init__(f'{shown(path)}: {shown(reason)}')
        self.strerror = shown(reason)


class RegularFiles(LocalBackend):
    """mmengine's backend of the local file system, without FIFOs, sockets and devices."""

    def get(self, filepath):
        return _read(filepath) if safe_reading_enforced() else super().get(filepath)

    def get_text(self, filepath, encoding='utf-8'):
        if not safe_reading_enforced():
            return super().get_text(filepath, encoding)
        return _read(filepath).decode(encoding).replace('\r\n', '\n').replace('\r', '\n')

    @contextmanager
    def get_local_path(self, filepath):
        if safe_reading_enforced() and os.path.exists(filepath) and not os.path.isdir(filepath):
            try:
                open_file(filepath).close()
            except OSError as error:
                raise UnreadableFile(filepath, error.strerror or error) from None
        yield filepath


class BoundedRequests(HTTPBackend):
    """mmengine's backend of http and https, with a time and a size for each request."""

    def get(self, filepath):
        if not safe_reading_enforced():
            return super().get(filepath)
        try:
            return fetch(str(filepath), TEXT_BYTES.value, IMAGE_SECONDS.value)
        except OSError as error:
            raise UnreadableFile(filepath, error) from None

    def get_text(self, filepath, encoding='utf-8'):
        return self.get(filepath).decode(encoding) if safe_reading_enforced() else super().get_text(filepath, encoding)


def _read(path) -> bytes:
    try:
        return read_bytes(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnreadableFile(path, error.strerror or error) from None


def register() -> None:
    """Put them in the places of mmengine's own."""
    register_backend('local', RegularFiles, force=True, prefixes='')
    register_backend('http', BoundedRequests, force=True, prefixes=['http', 'https'])
