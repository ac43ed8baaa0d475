"""A saved model pushed to the Hugging Face Hub, by this package's own requests, whose time and bytes have bounds."""
import base64
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from ..checkpoints.hub import Reference, Repository, library, persistently, problem_of
from ..checkpoints.hub_cache import COMMIT
from ..checkpoints.progress import progress
from ..downloads import DownloadError, send
from ..errors import CheckpointError, ConfigError
from ..files import sha256_of
from ..printable import shown
from ..text import shortened
from .folder import CONFIG, MOST, WEIGHTS

_REPO = re.compile(r'[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*', re.ASCII)
_LEAST = {'.gitattributes'}  # what the Hub itself puts into a new repository
_ANSWER = 2**20  # bytes; real answers have some thousands
_SMALL = 2**22  # bytes of a file that may be part of a commit; larger ones are stored by Git LFS, whatever the Hub says
_SAMPLE = 512  # bytes of a file, by which the Hub decides that
_JSON, _LFS = 'application/json', 'application/vnd.git-lfs+json'


def push(repo: str, save: Callable[[], Path], private: bool = False, yes: bool = False) -> str:
    """Push a folder to a repository, which is made where there is none.

    Args:
        repo: 'OWNER/NAME'.
        save: writes the folder; called when it is known that it may be pushed.
        private: make the repository a private one; one that is there and public is refused. Default: False.
        yes: replace files of the same names, where there are some. Default: False.

    Returns:
        The URL of the repository.

    Raises:
        ConfigError: no token, offline mode, or a repository that holds something already, or is public; a file of the
            folder that is too large, or none.
        CheckpointError: HF_ENDPOINT is of plain http; the Hub refuses, answers as none does, or can't be reached.
    """
    if not isinstance(repo, str) or not _REPO.fullmatch(repo):
        raise ConfigError(f"'{shown(repo)}': expected a repository, OWNER/NAME")
    pushed = _Push(repo)
    if not pushed.repository.secret:
        raise ConfigError(f'{repo}: pushing needs a token that may write: log in with `hf auth login`, or set HF_TOKEN '
                          'in the environment')
    if library().constants.HF_HUB_OFFLINE:
        raise ConfigError(f'{repo}: HF_HUB_OFFLINE is set in the environment: nothing is pushed')
    is_new = pushed.check(yes, private)
    files = _files_of(save())
    if is_new and not pushed.create(private):
        pushed.check(yes, private)  # someone made it meanwhile
    pushed.commit(files)
    return f'{pushed.repository.endpoint}/{repo}'


def _files_of(folder: Path) -> list[Path]:
    """The files of a saved model, whatever else the folder holds; raises ConfigError where they are none."""
    files = [folder / name for name in MOST if os.path.lexists(folder / name)]
    if missing := [name for name in (CONFIG, WEIGHTS) if folder / name not in files]:
        raise ConfigError(f"'{shown(folder)}' has no {missing[0]}, and is no folder of a saved model")
    for path in files:
        if path.is_symlink() or not path.is_file():
            raise ConfigError(f"'{shown(path)}' is no regular file: a folder to push has its files in it")
        if (size := path.stat().st_size) > MOST[path.name]:
            raise ConfigError(f"'{shown(path)}' has {size} bytes, and at most {MOST[path.name]} are pushed of it" + (
                ', which is what the Hub takes at once.\nPush it by `hf upload`' if path.name == WEIGHTS else ''))
    return files


class _Push:
    """Requests for one repository.

    Raises:
        ConfigError, CheckpointError: see `push`.
    """

    def __init__(self, repo: str):
        self.repo, self.repository = repo, Repository(Reference(repo))

    def check(self, yes: bool, private: bool) -> bool:
        """Whether the repository is to be made.

        Raises:
            ConfigError: it holds files that may not be replaced, or is public where a private one is asked for.
        """
        with self._explained():
            try:
                there = sorted({*persistently(lambda: self.repository.listed('main'))[1]} - _LEAST)
            except DownloadError as error:
                if error.status in (401, 404) and error.headers.get('X-Error-Code') in (None, 'RepoNotFound'):
                    return True
                raise
        url = f'{self.repository.endpoint}/{self.repo}'
        if there and not yes:
            raise ConfigError(f'{url} holds files already: {shown(shortened(there, 4))}.\nTo replace those of the same '
                              'names: yes=True (--yes)')
        if private and self.repository.is_public:
            raise ConfigError(f'{url} is there already, and public: make it private in its settings, or name another')
        return False

    def create(self, private: bool) -> bool:
        """Make the repository; whether it wasn't there."""
        owner, name = self.repo.split('/')
        with self._explained():
            try:
                self._post('/api/repos/create', dict(name=name, organization=owner, **dict(private=True) if private
                                                     else {}))
            except DownloadError as error:
                if error.status != 409:
                    raise
                return False
        return True

    def commit(self, files: list[Path]) -> None:
        """Put files into the repository, all of them or none."""
        with self._explained():
            asked = [dict(path=path.name, size=path.stat().st_size, sample=base64.b64encode(_begin(path)).decode())
                     for path in files]
            found = _objects(self._post(f'/api/models/{self.repo}/preupload/main', dict(files=asked)), 'files', 'path')
            large = [path for path in files if path.stat().st_size > _SMALL
                     or found.get(path.name, {}).get('uploadMode') == 'lfs']
            hashes = {path: sha256_of(path) for path in large}
            if hashes:
                self._store(hashes)
            lines: list[dict[str, Any]] = [dict(key='header', value=dict(summary='Model saved by mmvision_mamba',
                                                                         description=''))]
            for path in files:
                lines.append(dict(key='lfsFile', value=dict(
                    path=path.name, algo='sha256', oid=hashes[path], size=path.stat().st_size)) if path in hashes else
                    dict(key='file', value=dict(path=path.name, encoding='base64',
                                                content=base64.b64encode(path.read_bytes()).decode())))
            answer = self._post(f'/api/models/{self.repo}/commit/main', '\n'.join(map(json.dumps, lines)),
                                'application/x-ndjson')
            commit = answer.get('commitOid')
            if not (isinstance(commit, str) and COMMIT.fullmatch(commit)):
                raise _no_hub()

    def _store(self, hashes: Mapping[Path, str]) -> None:
        """Upload files by Git LFS, but for those that the Hub has already."""
        batch = self._post(f'/{self.repo}.git/info/lfs/objects/batch', dict(
            operation='upload', transfers=['basic'], hash_algo='sha256', ref=dict(name='main'),
            objects=[dict(oid=oid, size=path.stat().st_size) for path, oid in hashes.items()]), _LFS)
        found = _objects(batch, 'objects', 'oid')
        for path, oid in hashes.items():
            answer = found.get(oid)
            if answer is None or answer.get('error'):
                raise DownloadError(f'it does not take {path.name}') if answer else _no_hub()
            if not answer.get('actions'):
                continue
            url = _url_of(answer['actions'], 'upload')
            try:
                persistently(partial(self._upload, path, url))
            except DownloadError as error:  # of another server, as a rule
                raise DownloadError(f'where {path.name} is to go, {self.repository.said(error)}') from None
            if 'verify' in answer['actions']:
                self._post(_url_of(answer['actions'], 'verify'), dict(oid=oid, size=path.stat().st_size), answers=False)

    def _upload(self, path: Path, url: str) -> None:
        size = path.stat().st_size
        with path.open('rb') as content, progress(path.name, self.repository.quiet, 'Uploading') as report:
            send(url, _Reporting(content, lambda count: report(count, size)), size, _ANSWER,  # type: ignore[arg-type]
                 {'Content-Type': 'application/octet-stream'}, 'PUT')

    def _post(self, place: str, content: Mapping[str, Any] | str, kind: str = _JSON, answers: bool = True) -> dict:
        """What the Hub answers to content that is posted to a path of its, or to a URL. It alone gets the token."""
        endpoint = self.repository.endpoint
        url = endpoint + place if place.startswith('/') else place
        headers = {'Content-Type': kind, 'Accept': _LFS if kind == _LFS else _JSON}
        if _origin(url) == _origin(endpoint):
            headers.update(self.repository.secret)
        body = (content if isinstance(content, str) else json.dumps(content)).encode()
        text = persistently(lambda: send(url, body, len(body), _ANSWER, headers))
        try:
            answer = json.loads(text) if answers else {}
        except (ValueError, RecursionError):
            answer = None
        if not isinstance(answer, dict):
            raise _no_hub()
        return answer

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Say in a line what failed; nothing of what the server says itself."""
        try:
            yield
        except DownloadError as error:
            endpoint, status = self.repository.endpoint, error.status
            if status == 403 and not error.headers.get('X-Error-Code'):
                problem = f'{endpoint} answers 403: may the token that is set write to {self.repo}?'
            elif status:
                problem = problem_of(endpoint, Reference(self.repo), status, error.headers.get('X-Error-Code'))
            else:
                problem = f"it can't be pushed to {endpoint}: {self.repository.said(error)}"
            raise CheckpointError(f'{Reference(self.repo)}: {problem}') from None
        except OSError as error:
            raise CheckpointError(f'{Reference(self.repo)}: {shown(error.strerror or error)}') from None


class _Reporting:
    """A file that says how much of it was read."""

    def __init__(self, file: BinaryIO, report: Callable[[int], object]):
        self._file, self._report = file, report

    def read(self, number: int = -1) -> bytes:
        block = self._file.read(number)
        self._report(self._file.tell())
        return block


def _begin(path: Path) -> bytes:
    with path.open('rb') as content:
        return content.read(_SAMPLE)


def _objects(answer: Mapping[str, Any], key: str, name: str) -> dict[str, dict]:
    """The objects in a list of an answer, by the text that each has as `name`."""
    found = answer.get(key)
    if not isinstance(found, list):
        raise _no_hub()
    return {item[name]: item for item in found if isinstance(item, dict) and isinstance(item.get(name), str)}


def _origin(url: str) -> tuple[str, str] | None:
    try:
        return urlsplit(url)[:2]
    except ValueError:  # the request says what is wrong with it
        return None


def _url_of(actions: Any, name: str) -> str:
    """Where an object goes; the requests themselves refuse what is no URL of https."""
    action = actions.get(name) if isinstance(actions, dict) else None
    url = action.get('href') if isinstance(action, dict) else None
    if not isinstance(url, str):
        raise _no_hub()
    return url


def _no_hub() -> DownloadError:
    return DownloadError('it answers as no Hub does')
