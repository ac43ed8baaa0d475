"""Where a checkpoint's file lies: a path, the Hub's cache, or the download of a URL, each in a folder of its own; and
its SHA-256."""
import hashlib
import os
import re
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit
from uuid import uuid4

import torch

from ..downloads import DownloadError, is_url, save, split_url
from ..errors import CheckpointError, ConfigError
from ..files import read_bytes, sha256_of
from ..limits import DOWNLOAD_BYTES
from ..printable import shown
from ..published import BY_REPO, WORD
from ..text import did_you_mean
from ..work_dirs import hold
from . import hub
from .progress import progress
from .shards import LARGEST, is_index, shards_beside

_PLAIN = 16  # digits of a SHA-256 that no one can find another file for, so that plain http will do
_STILL = 900  # seconds after which a file that no one has written to is of a download that was killed
_PART = '.part'


def local_file(path: str | os.PathLike, sha256: str | None = None) -> Path:
    """The file of a checkpoint, downloaded where it is a URL's and not there yet; of the hash that is known.

    Args:
        path, sha256: see `reading.read_checkpoint`.

    Raises:
        CheckpointError: there is none, it can't be downloaded, or it has another hash.
    """
    name, _, fragment = str(path).partition('#sha256=')
    reference = hub.parsed(name)
    scheme = split_url(name)[0] if is_url(name) else 'file'
    if reference is None and scheme not in ('file', 'http', 'https'):
        # torchvision://resnet50, say, that the config had for another backbone.
        raise CheckpointError(f'{name}: checkpoints are read from files, http(s) URLs and hf://OWNER/REPO, not from '
                              f'{scheme}://')
    remote = scheme != 'file'
    expected = (sha256 or fragment or (_hash_in_name(name) if remote else '')).lower()
    if not re.fullmatch('([0-9a-f]{8,64})?', expected):
        raise CheckpointError(f'{path}: a SHA-256 has 8 to 64 hexadecimal digits, got {sha256 or fragment!r}')
    if hub.is_reference(name) and reference is not None:
        file = hub.hub_file(reference)
    else:
        file = _downloaded(name, expected, reference) if remote else _local(name)
    try:
        found = file.is_file()
        missing = not found and not file.exists()
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        raise CheckpointError(f'{shown(file)}: {error.strerror}') from None
    if not found:
        meant = did_you_mean(name, [WORD]) if name.isidentifier() else ''
        raise CheckpointError(f'checkpoint not found: {file}{meant}' if missing else
                              f'{file} is no checkpoint: it is a folder, or no regular file')
    if expected and not (actual := digest(file)).startswith(expected):
        raise CheckpointError(f'{file} has the SHA-256 {actual}, expected {expected}: it is another file.\n'
                              'Remove it, and download it again from where you trust.')
    return file


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a checkpoint is a URL's or on the Hub, and no path."""
    return is_url(path) or hub.is_reference(path)


def digest(file: Path) -> str:
    """SHA-256 of a file, 64 hexadecimal digits; of an index of weights in several files, of it and what theirs are.

    Raises:
        CheckpointError: it is an index that names no files, or a file that is not there.
    """
    if not is_index(file):
        return sha256_of(file)
    found = hashlib.sha256(read_bytes(file, LARGEST))
    for shard in shards_beside(file):
        found.update(sha256_of(shard).encode())
    return found.hexdigest()


def _local(path: str) -> Path:
    path = urlsplit(path).path if path.startswith('file://') else path
    with suppress(RuntimeError):  # '~NAME' of no user
        return Path(path).expanduser()
    return Path(path)


def _hash_in_name(url: str) -> str:
    """The HASH of `NAME-HASH.EXT`, 8 or more hexadecimal digits; '' for digits alone: those are dates."""
    match = re.search(r'-([0-9a-f]{8,64})\.', split_url(url)[2].rpartition('/')[2])
    return match[1] if match and not match[1].isdecimal() else ''


def _downloaded(url: str, sha256: str, reference: hub.Reference | None = None) -> Path:
    """The local copy of a URL, downloaded by whichever process comes first; the others of this machine wait for it.

    Args:
        url: what is asked for.
        sha256: its first digits, or ''.
        reference: what it is on the Hub, in whose cache it then is. Published weights are looked for as torch.hub keeps
            them, too, and are taken as safetensors, a third as large, where they are downloaded.
    """
    folder = Path(torch.hub.get_dir()) / 'checkpoints'
    scheme, place, path = split_url(url)
    rest = url.partition('#')[0].partition('?')[2]
    key = hashlib.sha256(f'{scheme}://{place.lower()}{path}?{rest}'.encode(errors='surrogatepass')).hexdigest()[:16]
    name = re.sub(r'[^\w.+-]', '_', unquote(path.rpartition('/')[2]), flags=re.ASCII).lstrip('.')[-100:] or 'checkpoint'
    file, shared = folder / key / name, folder / name
    if file.is_file():
        return file
    if sha256 and shared.is_file() and digest(shared).startswith(sha256):  # torch.hub's own, whatever its URL was
        return shared
    if reference is not None:
        model = None if sha256 else BY_REPO.get(reference.repo)
        published = model is not None and (model.file, 'main') == (reference.file, reference.revision)
        if published and shared.is_file():
            return shared
        return hub.hub_file(reference, 'model.safetensors' if published and model.safetensors else None)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with hold(file.parent, wait=86_400, way_out='TORCH_HOME=FOLDER in the environment'):
            if not file.is_file():
                _remove_leftovers(folder)
                _download(url, file, sha256)
    except (OSError, ConfigError) as error:
        other = f' {shared} may be another URL\'s: move it there if it is this one\'s.' if shared.is_file() else ''
        raise CheckpointError(
            f'could not download {shown(url, 1000)} ({shown(getattr(error, "strerror", None) or error)}).\nSave it as '
            f'{file}, name a local file, or do without: `mmvision-mamba train --no-pretrained`.{other}') from None
    return file


def _download(url: str, file: Path, sha256: str) -> None:
    part = file.with_name(f'{file.name}.{os.getpid()}.{uuid4().hex[:8]}{_PART}')
    try:
        with part.open('xb') as content, progress(file.name) as report:
            save(url, content, DOWNLOAD_BYTES.value, plain=len(sha256) >= _PLAIN, report=report)
        if sha256 and not digest(part).startswith(sha256):
            raise CheckpointError(f'{url}: what came has another SHA-256 than {sha256}, and was thrown away.\n'
                                  'Download it from where you trust.')
        os.replace(part, file)
    except DownloadError as error:
        if 'plain http' in str(error):
            raise DownloadError(f'{error}, or name its hash: {url}#sha256=…, {_PLAIN} digits or more') from None
        raise
    finally:
        part.unlink(missing_ok=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove what downloads that were killed left behind, those of other URLs too.

    Their age tells: machines and containers that share the folder can't ask for each other's processes.
    """
    for part in folder.glob(f'*/*{_PART}'):
        own = re.fullmatch(rf'.+\.\d{{1,9}}\.[0-9a-f]+{re.escape(_PART)}', part.name)  # others' files are theirs
        with suppress(OSError):  # in use, on Windows; gone
            if own and time.time() - part.stat().st_mtime > _STILL:
                part.unlink()
