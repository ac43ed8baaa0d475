"""The Hugging Face Hub's cache on this machine, laid out as its own library lays it out, read and written as data.

    models--OWNER--REPO/blobs/ETAG               contents, by what the Hub names them; see `RepositoryCache.store`
    models--OWNER--REPO/refs/REVISION            the commit that a branch or tag was, 40 digits
    models--OWNER--REPO/snapshots/COMMIT/FILE    links to the contents
    .locks/models--OWNER--REPO/ETAG.lock         held by the process that downloads

A name of any other form, which a server or a broken cache has, is none: a path made of it could lead anywhere.
"""
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import BinaryIO

from ..downloads import DownloadError
from ..files import read_text, replace, sha256_of
from ..printable import is_name

COMMIT = re.compile('[0-9a-f]{40}')
# SHA-256 of large files, Git's SHA-1 of small ones; mirrors have others.
_ETAG = re.compile(r'[0-9A-Za-z_-]{1,128}', re.ASCII)
_SHA256 = re.compile('[0-9a-f]{64}')
_REF = 100  # bytes that a file below refs/ may have


def is_file_name(name: object) -> bool:
    """Whether something may be the name of a file in a repository, or of a revision: a path that stays below."""
    return isinstance(name, str) and len(name) < 1000 and is_name(name) and not any(
        part in ('', '.', '..') or '\\' in part or PureWindowsPath(part).drive for part in name.split('/'))


class RepositoryCache:
    """A repository in the cache.

    Args:
        cache: the cache's folder.
        repo: 'OWNER/REPO'.
        links: whether snapshots may be links, where the system has them. Default: True.
    """

    def __init__(self, cache: Path, repo: str, links: bool = True):
        self._folder = cache / f'models--{repo.replace("/", "--")}'
        self._links = links

    def commit(self, revision: str) -> str | None:
        """The commit that a revision was when it was last asked for; None where that is not known."""
        if COMMIT.fullmatch(revision):
            return revision
        try:
            text = read_text(self._folder / 'refs' / revision, _REF).strip()
        except (OSError, ValueError):
            return None
        return text if COMMIT.fullmatch(text) else None

    def files(self, commit: str | None) -> list[str]:
        """The names of the files of a commit that are there, those in folders apart."""
        try:
            names = os.listdir(self._folder / 'snapshots' / commit) if commit else []
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(filter(is_file_name, names))

    def find(self, commit: str | None, file: str) -> Path | None:
        """The path of a file; None where it is not there."""
        path = self._pointer(commit, file) if commit else None
        return path if path is not None and path.is_file() else None

    def note(self, revision: str, commit: str) -> None:
        """Keep what commit a revision is."""
        if revision != commit and self.commit(revision) != commit:
            replace(self._folder / 'refs' / revision, lambda part: part.write_text(commit))

    def store(self, commit: str, file: str, etag: str, size: int | None,
              download: Callable[[BinaryIO], object]) -> Path:
        """The path of a file, downloaded by whichever process comes first; the others of this machine wait for it.

        An ETag of 64 hexadecimal digits is the content's SHA-256, as the Hub names large files, and what came is
        compared with it. What is broken off of such a file stays, as `ETAG.incomplete`, and is gone on with by the
        next. Any other ETag tells nothing of the content, and a mirror may give several files the same: there the
        content's name has the commit and the file in it, too, and a broken download begins anew.

        Args:
            commit, file: of the repository.
            etag: what the Hub names its content.
            size: in bytes; None where that is not known.
            download: writes all that is behind the present position of the file that it is given.

        Raises:
            DownloadError: the names are none, or what came is something else than they say.
            OSError: the cache can't be written.
        """
        from huggingface_hub.utils import WeakFileLock
        if not (COMMIT.fullmatch(commit) and _ETAG.fullmatch(etag) and is_file_name(file)):
            raise DownloadError('it names the file as no Hub does')
        name = etag
        if not _SHA256.fullmatch(etag):
            name += f"-{hashlib.sha256(f'{commit}/{file}'.encode()).hexdigest()[:16]}"
        blob, pointer = self._folder / 'blobs' / name, self._pointer(commit, file)
        lock = self._folder.parent / '.locks' / self._folder.name / f'{name}.lock'
        for path in (blob, pointer, lock):
            path.parent.mkdir(parents=True, exist_ok=True)
        if lock.is_symlink():  # some versions of filelock empty what it leads to
            lock.unlink()
        with WeakFileLock(lock):
            new = not blob.is_file() or size not in (None, blob.stat().st_size)  # of a killed process, or cut since
            if new:
                self._download(blob, size, download)
            if not (pointer.is_file() and pointer.samefile(blob)):
                self._point(pointer, blob, new)
        return pointer

    def _download(self, blob: Path, size: int | None, download: Callable[[BinaryIO], object]) -> None:
        part = blob.with_name(f'{blob.name}.incomplete')
        known = _SHA256.fullmatch(blob.name) is not None
        if not known or part.is_symlink() or not part.is_file():  # a link leads anywhere, a FIFO never ends
            part.unlink(missing_ok=True)
        whole = False
        try:
            with part.open('ab') as content:
                if size is not None and content.tell() > size:
                    content.truncate(content.seek(0))
                left = (size or 0) - content.tell()
                if left > shutil.disk_usage(part.parent).free:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(part))
                if left or not size:
                    download(content)
            whole, count = True, part.stat().st_size
            if size not in (None, count):
                raise DownloadError(f'it has {count} bytes, and {size} were announced')
            if known and sha256_of(part) != blob.name:
                raise DownloadError('what came has another SHA-256 than the Hub names, and was thrown away',
                                    broken=True)
            os.replace(part, blob)
        finally:
            with suppress(OSError):
                if whole or not (known and 0 < part.stat().st_size < (size or 0)):
                    part.unlink()

    def _point(self, pointer: Path, blob: Path, new: bool) -> None:
        """Put a link to a content, or where there are no links the content itself, in a snapshot."""
        part = pointer.with_name(f'.{pointer.name[:40]}.{os.getpid()}')
        part.unlink(missing_ok=True)
        if self._links:
            with suppress(OSError):
                part.symlink_to(os.path.relpath(blob, pointer.parent))
        try:
            if not part.is_symlink():
                shutil.move(blob, part) if new else shutil.copyfile(blob, part)
            os.replace(part, pointer)
        finally:
            part.unlink(missing_ok=True)

    def _pointer(self, commit: str, file: str) -> Path:
        return self._folder / 'snapshots' / commit / file
