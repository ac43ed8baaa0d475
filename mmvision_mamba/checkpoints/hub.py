"""Files of repositories on the Hugging Face Hub: those in its library's cache, with its offline mode and its tokens.

`hf://OWNER/REPO[@REVISION][/FILE]`, `hf-hub:OWNER/REPO[@REVISION]` as timm writes it, and the Hub's own URLs,
`https://huggingface.co/OWNER/REPO/resolve/REVISION/FILE`, which work in anyone's config. HF_HOME, HF_TOKEN, HF_ENDPOINT
and HF_HUB_OFFLINE are as that library reads them. It doesn't download by itself: it sets no bounds on what a server
sends, and makes paths of it.
"""
import json
import os
import re
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import BinaryIO, NamedTuple, TypeVar
from urllib.parse import quote, unquote, urlsplit

from ..downloads import DownloadError, fetch, headers_of, is_this_machine, save
from ..errors import CheckpointError, UserError
from ..installation import explaining
from ..limits import DOWNLOAD_BYTES
from ..printable import shown
from ..text import shortened
from .hub_cache import COMMIT, RepositoryCache, is_file_name
from .progress import progress
from .shards import LARGEST, is_index, shards_of

# Of a repository whose weights are asked for without a file's name, the first that there is.
FILES = ('model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin', 'pytorch_model.bin.index.json')
PREFIXES = ('hf://', 'hf-hub:')  # of a reference
_OTHERS = ('.pth', '.pth.tar', '.pt', '.safetensors', '.bin')  # then its only file with one of these suffixes
_NAME = r'[A-Za-z0-9][\w.-]*'
_REFERENCE = re.compile(
    rf'(?:hf://|hf-hub:)({_NAME}/{_NAME})(?:@((?:refs/(?:pr|convert)/)?[^/@?#\s]+))?(?:/([^?#]+))?', re.ASCII)
_URL = re.compile(rf'https://(?:huggingface\.co|hf\.co)/({_NAME}/{_NAME})/resolve/((?:refs/(?:pr|convert)/)?[^/?#]+)/'
                  r'([^?#]+)(?:\?download=true)?', re.ASCII | re.I)
_TRIES = 4  # where a connection breaks or a server is busy; each goes on where the one before broke off
_PAUSE = 1  # second that is waited longer before each but the second
_LIST_BYTES, _LIST_SECONDS = 2**24, 60  # of a repository's list of files: one of 100,000 has some 8 MB
_SHARDS = 1000  # files that an index may name
_NOT_MODELS = ('datasets', 'spaces', 'api')
_Found = TypeVar('_Found')


class Reference(NamedTuple):
    """What is asked for.

    Attributes:
        repo: 'OWNER/REPO'.
        revision: a branch, tag or commit. Default: the repository's main branch.
        file: its path in the repository. Default: the repository's weights, see `FILES`.
    """
    repo: str
    revision: str | None = None
    file: str | None = None

    def __str__(self) -> str:
        return shown(f'hf://{self.repo}' + (f'@{self.revision}' if self.revision else '') + (
            f'/{self.file}' if self.file else ''))


def is_reference(path: object) -> bool:
    """Whether a path begins as `hf://` or `hf-hub:`."""
    return str(path).startswith(PREFIXES)


def parsed(path: str) -> Reference | None:
    """The reference that a path or URL is; None for those of other places.

    Raises:
        CheckpointError: it begins as one, and is none.
    """
    match = _REFERENCE.fullmatch(path) or _URL.fullmatch(path)
    if match is None and is_reference(path):
        raise CheckpointError(f'{shown(path)}: expected hf://OWNER/REPO, with @REVISION and /FILE behind it if need be')
    if match is None or match[1].partition('/')[0] in _NOT_MODELS:
        return None
    repo, revision, file = match.groups()
    for text, what in ((revision, 'revision'), (file, 'file')):
        if text and not is_file_name(unquote(text)):
            raise CheckpointError(f'{shown(path)}: {shown(unquote(text))} is no {what} of a repository')
    return Reference(repo, revision and unquote(revision), file and unquote(file))


def hub_file(reference: Reference, rather: str | None = None, most: int | None = None) -> Path:
    """A file in the Hub's cache, downloaded where it is not there yet; of several files the index, beside all others.

    Args:
        reference: what is asked for.
        rather: a file of the same weights, which is taken where the repository has it. Default: none.
        most: bytes that are downloaded for it at most. Default: `DOWNLOAD_BYTES`.

    Raises:
        CheckpointError: an endpoint of plain http that is not this machine; no such
            repository, revision or file, one that needs a token, no network and nothing cached; the server answers
            as no Hub does.
    """
    found = Repository(reference, DOWNLOAD_BYTES.value if most is None else most)
    try:
        return found.file(rather)
    except UserError:
        raise
    except DownloadError as error:
        raise CheckpointError(f'{reference}: {found.problem(error)}') from None
    except (OSError, ValueError) as error:  # a full disk, a folder in a file's place, a name that no file can have
        where = f' {shown(error.filename)}' if isinstance(error, OSError) and error.filename else ''
        raise CheckpointError(f"{reference}: the cache{where}: {shown(getattr(error, 'strerror', None) or error)}; "
                              'HF_HOME=FOLDER in the environment names another') from None


def library() -> ModuleType:
    """The Hub's own library, for an endpoint that may be asked.

    Raises:
        CheckpointError: HF_ENDPOINT is no URL or of plain http, and not this machine; HF_HOME is empty or no folder;
            another variable of the library's has a value that it can't read.
    """
    try:
        with explaining('hf://'):
            import huggingface_hub as hub
            import huggingface_hub.constants
            import huggingface_hub.errors
            import huggingface_hub.utils
    except ValueError as error:  # it reads its variables as it is imported
        names = [name for name in os.environ if name.startswith('HF_') and 'TOKEN' not in name]
        raise CheckpointError(f"the Hub's library can not read its variables in the environment ({shown(error, 100)}): "
                              f'correct {shortened(names) or "them"}') from None
    home = os.environ.get('HF_HOME')
    if home is not None and (not home or (os.path.exists(hub.constants.HF_HOME)
                                          and not os.path.isdir(hub.constants.HF_HOME))):
        raise CheckpointError(f"HF_HOME='{shown(home)}' in the environment: name a folder, or unset it")
    endpoint = hub.constants.ENDPOINT
    try:
        parts = urlsplit(endpoint)
        scheme, host = parts.scheme, parts.hostname or ''
        if not host or parts.port == 0 or any(map(str.isspace, endpoint)):
            scheme = ''
    except ValueError:
        scheme, host = '', ''
    if scheme != 'https' and not (scheme == 'http' and is_this_machine(host)):
        raise CheckpointError(f'HF_ENDPOINT={shown(endpoint)} in the environment: expected https; over anything '
                              'else anyone on the way can put another file in its place')
    return hub


def problem_of(endpoint: str, reference: Reference, status: int, kind: str | None) -> str:
    """What an answer means that is an error, as a phrase; nothing of what the server says itself.

    Args:
        endpoint: the server's URL.
        reference: what was asked for.
        status: of the answer, 404 for instance.
        kind: its header X-Error-Code, if it has one.
    """
    repo, revision, file = reference
    page, log_in = f'{endpoint}/{repo}', 'log in with `hf auth login`, or set HF_TOKEN in the environment'
    kind = kind or {401: 'RepoNotFound', 404: 'EntryNotFound' if file else 'RepoNotFound'}.get(status)
    if kind == 'EntryNotFound':
        return f'{repo} has no file {shown(file)}: see {page}/tree/{shown(revision or "main")}'
    if kind == 'GatedRepo':
        return f'{repo} is gated: accept its conditions at {page}, then {log_in}'
    if kind == 'RepoNotFound':
        return f'there is no {repo} at {endpoint}, or it is private: then {log_in}' + (
            '; a token that is set may be valid no longer' if status == 401 else '')
    if kind == 'RevisionNotFound':
        return f'{repo} has no branch, tag or commit {shown(revision)}: see {page}/tree/main'
    return f'{endpoint} answers {status}' + (': is the token that is set still valid?' if status in (401, 403) else '')


def persistently(request: Callable[[], _Found]) -> _Found:
    """What a request returns; one whose connection breaks, or for whom a server is too busy, is made again."""
    for i in range(_TRIES):
        try:
            return request()
        except DownloadError as error:
            if not (error.broken or error.status in (429, *range(500, 600))) or i == _TRIES - 1:
                raise
            time.sleep(i * _PAUSE)
    raise AssertionError


class Repository:
    """A repository of the Hub, and what of it is in the cache.

    Args:
        reference: what is asked for.
        left: bytes that may be downloaded. Default: none.

    Attributes:
        endpoint: the server's URL.
        secret: headers with the token, for that server alone.
        quiet: whether progress is not to be shown.
        is_public: whether the server said so, when it listed the repository.

    Raises:
        CheckpointError: the endpoint or the token is none that can be used.
    """

    def __init__(self, reference: Reference, left: int = 0):
        self._hub = hub = library()
        self._reference, self._left = reference, left
        self.endpoint: str = hub.constants.ENDPOINT.rstrip('/')
        self._cache = RepositoryCache(Path(hub.constants.HF_HUB_CACHE), reference.repo,
                                      not getattr(hub.constants, 'HF_HUB_DISABLE_SYMLINKS', False))
        self.secret: dict[str, str] = {}
        self._reached = self.is_public = False
        self.quiet: bool = hub.utils.are_progress_bars_disabled()
        # Not by the library's headers: for those it asks the endpoint for a list of programs, without our bounds.
        if token := None if hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN else hub.get_token():
            if not (token.isascii() and token.isprintable()):  # or the HTTP client's message would hold it
                raise CheckpointError('the token, of HF_TOKEN or `hf auth login`, has characters that no token has')
            self.secret = {'Authorization': f'Bearer {token}'}

    def file(self, rather: str | None) -> Path:
        """See `hub_file`."""
        revision, file = self._reference.revision or 'main', self._reference.file
        files: list[str] = []
        commit = revision if COMMIT.fullmatch(revision) else None
        unreachable = None
        if file is None or rather is not None or commit is None:
            try:
                commit, files = self.listed(revision)
            except DownloadError as error:
                if error.status and error.status < 500 and error.status != 429:
                    raise
                commit, unreachable = self._cache.commit(revision), error
                files = self._cache.files(commit)
        if unreachable is not None and not files:
            raise CheckpointError(f'{self._reference}: {self._not_cached(unreachable)}')
        file = rather if rather is not None and rather in files else file or self._weights(files)
        found = self._found(commit, file, unreachable)
        folder, commit = PurePosixPath(file).parent, found.parents[len(PurePosixPath(file).parts) - 1].name
        shards = sorted(set(shards_of(found).values())) if is_index(found) else []
        if len(shards) > _SHARDS:
            raise CheckpointError(f'{self._reference} names {len(shards)} files, and {_SHARDS} are downloaded at most')
        for shard in shards:
            self._found(commit, str(folder / shard), unreachable)
        if unreachable is None:
            with suppress(OSError):  # a cache that can't be written to, and has all that it needs
                self._cache.note(revision, commit)
        return found

    def _found(self, commit: str | None, file: str, unreachable: DownloadError | None) -> Path:
        """A file in the cache, or downloaded where the Hub was not just found to be out of reach."""
        self._reference = self._reference._replace(file=file)
        if found := self._cache.find(commit, file):
            return found
        if unreachable is not None:
            raise CheckpointError(f'{self._reference}: {self._not_cached(unreachable)}')
        return persistently(lambda: self._downloaded(commit or self._reference.revision or 'main', file))

    def listed(self, revision: str) -> tuple[str | None, list[str]]:
        """The commit that a revision is, None where the server doesn't say it, and the files of the repository.

        Raises:
            DownloadError: with the reason.
        """
        self._check_online()
        # As the library asks, for mirrors may know no other form.
        which = '' if revision == 'main' and self._reference.revision is None else f"/revision/{quote(revision, '')}"
        text = fetch(f'{self.endpoint}/api/models/{self._reference.repo}{which}', _LIST_BYTES, _LIST_SECONDS,
                     self.secret, self._hub.constants.HF_HUB_ETAG_TIMEOUT)
        self._reached = True
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError):
            answer = None
        siblings = answer.get('siblings') if isinstance(answer, dict) else None
        if not isinstance(siblings, list):
            raise DownloadError('it answers with no list of files, as a Hub does')
        names = (file.get('rfilename') for file in siblings if isinstance(file, dict))
        commit, self.is_public = answer.get('sha'), answer.get('private') is False
        return (commit if isinstance(commit, str) and COMMIT.fullmatch(commit) else None,
                [name for name in names if is_file_name(name)])

    def _downloaded(self, revision: str, file: str) -> Path:
        self._check_online()
        most = min(self._left, LARGEST) if is_index(file) else self._left
        headers = headers_of(self._url(revision, file), self._hub.constants.HF_HUB_ETAG_TIMEOUT, self.secret,
                             lambda found: 'X-Repo-Commit' in found and 'X-Linked-Etag' in found)
        self._reached = True
        commit, etag = headers.get('X-Repo-Commit', ''), headers.get('X-Linked-Etag') or headers.get('ETag', '')
        etag = etag.strip().removeprefix('W/').strip('"')
        # The length of a redirect is its own.
        size = headers.get('X-Linked-Size') or ('Location' not in headers and headers.get('Content-Length')) or ''
        number = int(size) if size.isascii() and size.isdecimal() and len(size) < 30 else None
        if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(revision) and commit != revision):
            raise DownloadError('it names no commit, or another than was asked for, as no Hub does')
        if (number or 0) > most:
            raise DownloadError(f'{shown(file)} has {number} bytes, and {most} are allowed')

        def download(content: BinaryIO) -> None:
            with progress(file, self.quiet) as report:
                save(self._url(commit, file), content, most if number is None else number, secret=self.secret,
                     report=report)
        found = self._cache.store(commit, file, etag, number, download)
        self._left -= found.stat().st_size
        return found

    def _url(self, revision: str, file: str) -> str:
        return f'{self.endpoint}/{self._reference.repo}/resolve/{quote(revision, "")}/{quote(file)}'

    def _check_online(self) -> None:
        if self._hub.constants.HF_HUB_OFFLINE:
            raise DownloadError('HF_HUB_OFFLINE is set')

    def _weights(self, files: Collection[str]) -> str:
        """The name of the repository's weights among its files."""
        found = [name for name in FILES if name in files][:1] or [
            name for name in files if name.endswith(_OTHERS) and '/' not in name]
        if len(found) != 1:
            there = f'there are {shown(shortened(found))}' if found else f'it has none of {", ".join(FILES)}'
            raise CheckpointError(f'{self._reference}: name the file of weights, hf://{self._reference.repo}/FILE: '
                                  f'{there}')
        return found[0]

    def problem(self, error: DownloadError) -> str:
        """What is wrong, and the way out."""
        if error.status:
            return problem_of(self.endpoint, self._reference, error.status, error.headers.get('X-Error-Code'))
        return f'{self.endpoint}: the download failed: {self.said(error)}' if self._reached else \
            self._not_cached(error)

    def said(self, error: DownloadError) -> str:
        """An error's text, without the token, which a server can send back."""
        if error.status:
            return f'it answers {error.status}'
        token = self.secret.get('Authorization', '').removeprefix('Bearer ')
        return str(error).replace(token, '***') if token else str(error)

    def _not_cached(self, error: DownloadError) -> str:
        offline = self._hub.constants.HF_HUB_OFFLINE
        why = 'HF_HUB_OFFLINE is set' if offline else f'{self.endpoint} can not be reached ({self.said(error)})'
        where = shown(self._hub.constants.HF_HUB_CACHE)
        return (f'{why}, and it is not in the cache, {where}.\nDownload it where there is a network, '
                f'`hf download {self._reference.repo}`, and copy that folder; or name a local file, or do without: '
                '`mmvision-mamba train --no-pretrained`.')
