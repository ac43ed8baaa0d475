"""A server on this machine that speaks as much of the Hugging Face Hub's API as its library asks for.

    with hub(tmp_path / 'served') as server:          # repositories are folders OWNER/REPO below it
        server.add('nvidia/tiny', {'model.safetensors': content})
        use(server, monkeypatch, tmp_path / 'home')   # in this process; in others, `environment(server, home)`
"""
import base64
import contextlib
import hashlib
import http.server
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

_REPO = r'([\w.-]+/[\w.-]+)'


class HubServer:
    """Repositories by name, and what was asked for.

    Attributes:
        url: for HF_ENDPOINT.
        gated: names of repositories that are refused to all.
        private: names of those that were made as private ones.
        large: what was uploaded by Git LFS, by its SHA-256.
        breaks: the connection ends after this many bytes of the content, as many times as `times` says.
        fails: the status of all answers; 0: what they are.
        alter: makes other answers: of method, path, status, content and headers the last three. The content may be an
            iterator, whose bytes are sent until the client has enough.
        asked: method, path and Authorization of each request.
        ranges: the header Range of each request that has one.
    """

    def __init__(self, folder: Path):
        self.folder, self.url = folder, ''
        self.gated: set[str] = set()
        self.breaks, self.times, self.fails = 0, 0, 0
        self.alter: Callable | None = None
        self.asked: list[tuple[str, str, str | None]] = []
        self.ranges: list[str] = []
        self.large: dict[str, bytes] = {}
        self.private: set[str] = set()

    def add(self, repo: str, files: dict[str, bytes]) -> Path:
        """Add files to a repository, which is made where there is none; returns its folder."""
        for name, content in files.items():
            path = self.folder / repo / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return self.folder / repo

    def files(self, repo: str) -> dict[str, Path]:
        folder = self.folder / repo
        return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob('*')) if path.is_file()}

    def commit(self, repo: str) -> str:
        """The commit that the present files are, 40 digits: the only one, by the name 'main' too."""
        parts = (f'{name} {hashlib.sha1(path.read_bytes()).hexdigest()}' for name, path in self.files(repo).items())
        return hashlib.sha1('\n'.join(parts).encode()).hexdigest()

    def downloads(self) -> list[str]:
        """The files that were downloaded, OWNER/REPO/FILE, once for each request."""
        return [re.sub('/resolve/[^/]+', '', path[1:]) for method, path, _ in self.asked
                if method == 'GET' and '/resolve/' in path]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    hub: HubServer

    def log_message(self, *args):
        pass

    def _answer(self, code=200, content=b'', **headers):
        if self.hub.alter is not None:
            path = unquote(urlsplit(self.path).path)
            code, content, headers = self.hub.alter(self.command, path, code, content, headers)
        if isinstance(content, Iterator):
            return self._endlessly(code, content, headers)
        if not isinstance(content, bytes):
            content, headers = json.dumps(content).encode(), {'Content-Type': 'application/json', **headers}
        self.send_response(code)
        for name, value in {'Content-Length': len(content), **headers}.items():
            self.send_header(name.replace('_', '-'), str(value))
        self.end_headers()
        if self.command != 'HEAD':
            cut = self.hub.breaks and self.hub.times > 0 and len(content) > self.hub.breaks
            self.wfile.write(content[:self.hub.breaks] if cut else content)
            if cut:
                self.hub.times -= 1
                self.close_connection = True

    def _endlessly(self, code, content, headers):
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace('_', '-'), str(value))
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            for piece in content if self.command != 'HEAD' else ():
                self.wfile.write(piece)

    def _error(self, code, kind):
        # Its text holds what was sent, as some proxies' do.
        self._answer(code, {'error': kind}, X_Error_Code=kind, X_Error_Message=str(self.headers.get('Authorization')))

    def _serve(self):
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append((self.command, path, self.headers.get('Authorization')))
        self.hub.ranges += filter(None, [self.headers.get('Range')])
        body = self._body()
        if self.hub.fails:
            self._error(self.hub.fails, 'Unavailable')
        elif match := re.fullmatch(rf'/{_REPO}/resolve/([^/]+)/(.+)', path):
            self._revision(match[1], match[2]) and self._file(match[1], match[3])
        elif match := re.fullmatch(rf'/api/models/{_REPO}(?:/revision/([^/]+))?', path):
            self._revision(match[1], match[2] or 'main') and self._answer(200, dict(
                id=match[1], modelId=match[1], sha=self.hub.commit(match[1]), tags=[],
                private=match[1] in self.hub.private,
                siblings=[dict(rfilename=name) for name in self.hub.files(match[1])]))
        else:
            self._write(path, body)

    def _body(self) -> bytes:
        if self.headers.get('Transfer-Encoding') != 'chunked':
            return self.rfile.read(int(self.headers.get('Content-Length') or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b''.join(parts)

    def _revision(self, repo, revision) -> bool:
        if repo in self.hub.gated:
            self._error(403, 'GatedRepo')
        elif not (self.hub.folder / repo).is_dir():
            self._error(404, 'RepoNotFound')
        elif revision not in ('main', self.hub.commit(repo)):
            self._error(404, 'RevisionNotFound')
        else:
            return True
        return False

    def _file(self, repo, name):
        path = self.hub.files(repo).get(name)
        if path is None:
            return self._error(404, 'EntryNotFound')
        content = path.read_bytes()
        headers = dict(X_Repo_Commit=self.hub.commit(repo), ETag=f'"{hashlib.sha256(content).hexdigest()}"',
                       X_Linked_Size=len(content), Accept_Ranges='bytes')
        if self.command == 'HEAD':
            return self._answer(200, b'', **{**headers, 'Content-Length': len(content)})
        if match := re.fullmatch(r'bytes=(\d+)-(\d*)', self.headers.get('Range') or ''):
            start = int(match[1])
            return self._answer(206, content[start:int(match[2]) + 1 if match[2] else None], **headers,
                                Content_Range=f'bytes {start}-{len(content) - 1}/{len(content)}')
        return self._answer(200, content, **headers)

    def _write(self, path, body):
        """What pushing asks for: who one is, a new repository, which files are large, their upload, a commit."""
        if path.startswith('/lfs/'):
            self.hub.large[hashlib.sha256(body).hexdigest()] = body
            return self._answer(200, b'')
        if not self.headers.get('Authorization'):
            return self._error(401, 'Unauthorized')
        if path == '/api/whoami-v2':
            return self._answer(200, dict(type='user', name='someone', auth={}))
        if path == '/api/validate-yaml':
            return self._answer(200, dict(errors=[], warnings=[]))
        if path == '/api/repos/create':
            asked = json.loads(body)
            repo = f"{asked.get('organization') or 'someone'}/{asked['name']}"
            if (self.hub.folder / repo).is_dir():
                return self._answer(409, dict(error='exists', url=f'{self.hub.url}/{repo}'))
            (self.hub.folder / repo).mkdir(parents=True)
            self.hub.private |= {repo} if asked.get('private') or asked.get('visibility') == 'private' else set()
            return self._answer(200, dict(id=repo, url=f'{self.hub.url}/{repo}'))
        if match := re.fullmatch(rf'/api/models/{_REPO}/preupload/[^/]+', path):
            return self._answer(200, dict(files=[dict(
                path=file['path'], uploadMode='lfs' if file['path'].endswith('.safetensors') else 'regular',
                shouldIgnore=False) for file in json.loads(body)['files']]))
        if match := re.fullmatch(rf'/{_REPO}\.git/info/lfs/objects/batch', path):
            return self._answer(200, dict(transfer='basic', objects=[
                dict(asked, actions=dict(upload=dict(href=f"{self.hub.url}/lfs/{asked['oid']}")))
                for asked in json.loads(body)['objects']]))
        if match := re.fullmatch(rf'/api/models/{_REPO}/commit/[^/]+', path):
            for line in map(json.loads, body.splitlines()):
                if line['key'] == 'file':
                    self.hub.add(match[1], {line['value']['path']: base64.b64decode(line['value']['content'])})
                elif line['key'] == 'lfsFile':
                    self.hub.add(match[1], {line['value']['path']: self.hub.large[line['value']['oid']]})
                elif line['key'] == 'deletedFile':
                    (self.hub.folder / match[1] / line['value']['path']).unlink()
            commit = self.hub.commit(match[1])
            return self._answer(200, dict(commitOid=commit, commitUrl=f'{self.hub.url}/{match[1]}/commit/{commit}'))
        return self._error(404, 'NotFound')

    do_GET = do_HEAD = do_POST = do_PUT = _serve


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that has enough
            super().handle_error(request, client_address)


@contextlib.contextmanager
def hub(folder: Path) -> Iterator[HubServer]:
    """A server of the repositories below a folder."""
    served = HubServer(folder)
    handler = type('Handler', (_Handler,), dict(hub=served))
    with _Server(('127.0.0.1', 0), handler) as server:
        served.url = f'http://127.0.0.1:{server.server_port}'
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield served
        finally:
            server.shutdown()


def environment(server: HubServer | None, home: Path, **more: str) -> dict[str, str]:
    """The variables by which another process uses that server, or without one none, and a cache of its own."""
    return dict(HF_ENDPOINT=server.url if server else 'http://127.0.0.1:1', HF_HOME=str(home), no_proxy='127.0.0.1',
                HF_HUB_CACHE=str(home / 'hub'), HF_HUB_DISABLE_TELEMETRY='1', HF_HUB_DISABLE_XET='1',
                TORCH_HOME=str(home / 'torch'), **more)


@contextlib.contextmanager
def hub_of_a_user(folder: Path, monkeypatch) -> Iterator[HubServer]:
    """A server that this process uses with a token, below a folder; requests that fail are made again at once."""
    with hub(folder / 'served') as server:
        use(server, monkeypatch, folder / 'home')
        monkeypatch.setenv('HF_TOKEN', 'hf_secret')
        monkeypatch.setattr('mmvision_mamba.checkpoints.hub._PAUSE', 0)
        yield server


def use(server: HubServer | None, monkeypatch, home: Path, offline: bool = False) -> None:
    """Let the library in this process, which has read its environment already, use that server and that cache."""
    import huggingface_hub.file_download  # noqa: F401  versions before 1 copy these into their modules
    modules = [module for name, module in list(sys.modules.items()) if name.startswith('huggingface_hub.')]
    url = environment(server, home)['HF_ENDPOINT']
    for name, value in environment(server, home).items():
        monkeypatch.setenv(name, value)
    for name, value in dict(ENDPOINT=url, HF_HUB_OFFLINE=offline,
                            HUGGINGFACE_CO_URL_TEMPLATE=url + '/{repo_id}/resolve/{revision}/{filename}',
                            HF_HUB_CACHE=str(home / 'hub'), HF_TOKEN_PATH=str(home / 'token'),
                            HF_HUB_DISABLE_XET=True).items():
        for module in modules:
            if name in vars(module):
                monkeypatch.setattr(module, name, value)
