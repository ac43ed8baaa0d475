"""A Hub that lies, and a broken cache: nothing is written outside of the cache, all requests end, a line says why."""
import gzip
import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from mmvision_mamba import downloads
from mmvision_mamba.checkpoints import hub as hub_module
from mmvision_mamba.checkpoints.hub import Reference, hub_file
from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.errors import CheckpointError

from ..helpers import ROOT
from ..helpers.hub_server import environment, hub, use
from ..helpers.servers import answering

WEIGHTS = save(dict(a=torch.ones(5000)))  # 20 kB


@pytest.fixture
def server(tmp_path, monkeypatch):
    with hub(tmp_path / 'served') as served:
        served.add('some/model', {'model.safetensors': WEIGHTS, 'config.json': b'{}'})
        use(served, monkeypatch, tmp_path / 'home')
        monkeypatch.setattr(hub_module, '_PAUSE', 0)
        yield served


def alter(server, where: str, content=None, code=None, method=None, **headers):
    """Let the server answer otherwise where a path holds `where`; a header None is left out."""
    def altered(command, path, old_code, old_content, old_headers):
        if where not in path or method not in (None, command):
            return old_code, old_content, old_headers
        new = {name: value for name, value in {**old_headers, **headers}.items() if value is not None}
        return code or old_code, old_content if content is None else content() if callable(content) else content, new
    server.alter = altered


def refused(reference: str) -> str:
    start = time.monotonic()
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(reference)
    assert time.monotonic() - start < 20
    text = str(error.value)
    assert len(text.splitlines()) <= 2 and '\x1b' not in text
    return text


def blobs(tmp_path) -> list[str]:
    return [path.name for path in (tmp_path / 'home').rglob('blobs/*')]


@pytest.mark.parametrize(('headers', 'reason'), [
    (dict(ETag='"../../../../outside"'), 'names the file as no Hub does'),
    (dict(ETag='"/tmp/{}/outside"'), 'names the file as no Hub does'),
    (dict(ETag='"C:outside"'), 'names the file as no Hub does'), (dict(ETag='".."'), 'names the file as no Hub does'),
    (dict(ETag='W/""'), 'names the file as no Hub does'), (dict(ETag='"' + 'x' * 5000 + '"'), 'names the file as'),
    (dict(ETag=None), 'names the file as'), (dict(X_Linked_Etag='"../../../../outside"'), 'names the file as'),
    (dict(X_Repo_Commit='../../../../outside'), 'it names no commit'), (dict(X_Repo_Commit=None), 'it names no commit'),
    (dict(X_Repo_Commit='0' * 40), 'it names no commit, or another than was asked for'),
    (dict(X_Linked_Size=10**18), 'has 1000000000000000000 bytes, and'), (dict(X_Linked_Size=5), 'more than 5 bytes'),
    (dict(X_Linked_Size=30_000), r'has 20072 bytes, and 30000 were announced'),
    (dict(ETag='"' + '0' * 64 + '"'), 'another SHA-256 than the Hub names, and was thrown away')])
def test_a_server_names_no_path_of_this_machine(server, tmp_path, headers, reason):
    headers = {name: value.replace('{}', tmp_path.name) if isinstance(value, str) else value
               for name, value in headers.items()}
    alter(server, '/resolve/', **headers)
    assert reason in refused('hf://some/model')
    assert not list(tmp_path.rglob('*outside*')) and not (tmp_path.parent / 'outside').exists()
    assert not blobs(tmp_path) and not list((tmp_path / 'home').rglob('snapshots/*/*'))


@pytest.mark.parametrize(('where', 'reason'), [
    ('file:///etc/passwd', 'not over file'), ('/some/model/resolve/main/model.safetensors', 'more than 10 redirects'),
    ('http://127.0.0.1:1/x', 'refused'), ('http://mirror.example/x', 'plain http'), ('', 'answers 302')])
def test_redirects_lead_to_no_file_and_end(server, tmp_path, where, reason):
    alter(server, '/resolve/', b'', 302, Location=where)
    assert reason in refused('hf://some/model') and not blobs(tmp_path)


def test_a_redirect_to_another_host_names_the_file_itself(server, tmp_path):
    """As the Hub does it for large files; the length of the redirect is not the file's."""
    with hub(tmp_path / 'elsewhere') as other:
        other.add('some/model', {'model.safetensors': WEIGHTS})
        alter(server, '/resolve/', b'Moved', 302, X_Linked_Etag=f'"{hashlib.sha256(WEIGHTS).hexdigest()}"',
              ETag='"other"', X_Linked_Size=None, **{'Content-Length': 5},
              Location=f'{other.url}/some/model/resolve/main/model.safetensors')
        assert read_checkpoint('hf://some/model')['a'].sum() == 5000
        assert [method for method, _, _ in other.asked] == ['GET']
    assert blobs(tmp_path) == [hashlib.sha256(WEIGHTS).hexdigest()]


def test_a_busy_server_is_asked_again(server):
    answers = iter([503, 429, 200])
    server.alter = lambda command, path, code, content, headers: (
        next(answers) if command == 'GET' and '/resolve/' in path else code, content, headers)
    assert read_checkpoint('hf://some/model')['a'].sum() == 5000


def test_a_second_answer_of_another_kind_changes_nothing(server, tmp_path):
    alter(server, '/resolve/', content=b'x' * len(WEIGHTS), method='GET', ETag='"../outside"', X_Repo_Commit='../..')
    assert 'another SHA-256' in refused('hf://some/model') and not blobs(tmp_path)


@pytest.mark.parametrize(('where', 'content', 'reason'), [
    ('/resolve/', lambda: itertools.repeat(b' ' * 2**16), 'more than 1000000 bytes'),
    ('/resolve/', lambda: (time.sleep(0.05) or b' ' for _ in itertools.count()), 'came to a halt'),
    ('/api/', lambda: itertools.repeat(b' ' * 2**16), 'it has more than 16777216 bytes'),
    ('/api/', lambda: (time.sleep(0.05) or b' ' for _ in itertools.count()), 'not send all of it within 0.5 seconds'),
    ('/api/', gzip.compress(b' ' * 2**20), 'no list of files'), ('/api/', b'[' * 10**5, 'no list of files'),
    ('/api/', b'[1, 2]', 'no list of files'), ('/api/', b'{"siblings": {"a": 1}}', 'no list of files'),
    ('/api/', b'{"sha": 5, "siblings": [7, null, {"rfilename": 5}, {"rfilename": "\\ud800.pth"}]}', 'it has none of')])
def test_answers_have_bounds(server, tmp_path, monkeypatch, where, content, reason):
    monkeypatch.setenv('MMVISION_MAMBA_MAX_DOWNLOAD_BYTES', '1000000')
    monkeypatch.setattr(downloads, '_WINDOW', 0.5)
    monkeypatch.setattr(hub_module, '_LIST_SECONDS', 0.5 if '0.5' in reason else 20)
    monkeypatch.setattr(hub_module, '_TRIES', 2)
    # Without a hash of the content, and without its size.
    alter(server, where, content, ETag='"abc"' if where == '/resolve/' else None, X_Linked_Size=None,
          **{'Content-Length': None})
    assert reason in refused('hf://some/model') and not blobs(tmp_path)


def test_a_file_has_no_more_bytes_than_its_reader_takes(server):
    server.add('some/model', {'config.json': b' ' * 2000})
    with pytest.raises(CheckpointError, match=r'config\.json has 2000 bytes, and 1000 are allowed'):
        hub_file(Reference('some/model', file='config.json'), most=1000)
    many = {str(i): f'{i}.bin' for i in range(1001)}
    server.add('some/model', {'many.index.json': json.dumps(dict(weight_map=many)).encode()})
    assert 'names 1001 files, and 1000 are' in refused('hf://some/model/many.index.json')
    server.add('some/model', {'x.index.json': b' ' * (2**24 + 1)})
    assert 'x.index.json has 16777217 bytes, and 16777216' in refused('hf://some/model/x.index.json')


def test_names_of_files_are_text_alone(server, tmp_path):
    names = ['../../../outside.pth', '..\\x.pth', '/tmp/outside.pth', 'C:x.pth', '\x1b[31mRED\n0 errors.pth', 'a.pth',
             'b.pth']
    alter(server, '/api/', content=lambda: dict(sha='0' * 40, siblings=[dict(rfilename=name) for name in names]))
    assert refused('hf://some/model').endswith('there are a.pth, b.pth')
    assert r'is no file of a repository' in refused('hf://some/model/\x1b[31mRED\n0 errors.pth')


def test_a_download_that_broke_off_is_gone_on_with_by_the_next_process(server, tmp_path):
    server.breaks, server.times = 3000, 99
    assert 'the download failed: it breaks off after 3000 of 11072 bytes' in refused('hf://some/model')
    part, = (tmp_path / 'home').rglob('blobs/*.incomplete')
    assert part.stat().st_size == 12_000
    server.breaks = 0
    command = ("from mmvision_mamba.checkpoints.hub import Reference, hub_file; "
               "print(hub_file(Reference('some/model')))")
    done = subprocess.run([sys.executable, '-c', command], env={**os.environ, **environment(server, tmp_path / 'home')},
                          cwd=ROOT, capture_output=True, text=True)
    assert Path(done.stdout.strip()).read_bytes() == WEIGHTS, done.stderr[-2000:]
    assert server.ranges == [f'bytes={count}-' for count in (3000, 6000, 9000, 12_000)] and not part.exists()


@pytest.mark.parametrize('left', [b'x' * 3000, b'x' * 30_000, b'link', b'folder',
                                  *([b'FIFO'] if os.name == 'posix' else [])])
def test_what_another_left_is_never_taken_for_the_file(server, tmp_path, left):
    read_checkpoint('hf://some/model')
    blob, = (tmp_path / 'home').rglob('blobs/*')
    part = blob.with_name(f'{blob.name}.incomplete')
    blob.unlink()
    outside = tmp_path / 'outside'
    outside.write_bytes(b'mine')
    if left == b'link':
        part.symlink_to(outside)
    elif left == b'FIFO':
        os.mkfifo(part)
    elif left == b'folder':
        part.mkdir()
        assert f'the cache {part}: Is a directory; HF_HOME=FOLDER' in refused('hf://some/model')
        return
    else:
        part.write_bytes(left)
    assert read_checkpoint('hf://some/model')['a'].sum() == 5000
    assert outside.read_bytes() == b'mine' and blob.read_bytes() == WEIGHTS and not part.exists()


def test_the_token_goes_to_the_endpoint_alone(server, tmp_path, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', 'hf_secret')
    with hub(tmp_path / 'elsewhere') as other:
        other.add('some/model', {'model.safetensors': WEIGHTS})
        there = f'{other.url}/some/model/resolve/main/model.safetensors'
        alter(server, '/resolve/', b'', 302, 'GET', Location=there)
        assert read_checkpoint('hf://some/model')['a'].sum() == 5000
        assert [token for _, _, token in other.asked] == [None] and len(other.downloads()) == 1
    assert {token for _, _, token in server.asked} == {'Bearer hf_secret'}
    for answer in (b'HTTP/1.1 503 Bearer hf_secret\r\n\r\n', b'Bearer hf_secret\r\n\r\n'):  # as some proxies do
        with answering(answer) as url:
            monkeypatch.setattr('huggingface_hub.constants.ENDPOINT', url)
            assert 'secret' not in refused('hf://some/other')
    monkeypatch.setenv('HF_TOKEN', 'hf_s\u00e9cret')
    assert 's\u00e9cret' not in refused('hf://some/model@main/config.json')


class TestCache:
    """What lies in the cache, with no network."""

    @pytest.fixture
    def folder(self, server, tmp_path, monkeypatch):
        read_checkpoint('hf://some/model')
        use(None, monkeypatch, tmp_path / 'home')
        return tmp_path / 'home/hub/models--some--model'

    @pytest.mark.parametrize('text', ['../..', '../../../../outside', '', '0' * 40, 'main\n', '\x00', '\udcff',
                                      'x' * 10**6])
    def test_a_ref_that_is_no_commit(self, folder, text):
        (folder / 'refs/main').write_bytes(text.encode(errors='surrogateescape'))
        (folder / 'snapshots/model.safetensors').write_bytes(WEIGHTS)
        assert 'can not be reached' in refused('hf://some/model')

    def test_folders_and_files_in_each_others_place(self, folder, server, monkeypatch, tmp_path):
        (folder / 'refs/main').unlink()
        (folder / 'refs/main').mkdir()
        assert 'it is not in the cache' in refused('hf://some/model')
        use(server, monkeypatch, tmp_path / 'home')
        assert read_checkpoint('hf://some/model')['a'].sum() == 5000
        server.add('some/model', {'config.json': b'[]'})
        blobs = folder / 'blobs'
        blobs.rename(folder / 'old')
        blobs.touch()
        assert f'the cache {blobs}: ' in refused('hf://some/model')

    @pytest.mark.parametrize('content', [b'', WEIGHTS[:5000]])
    def test_content_that_was_cut(self, folder, server, monkeypatch, tmp_path, content):
        blob, = folder.glob('blobs/*')
        blob.write_bytes(content)
        text = refused('hf://some/model')
        assert str(folder) in text and 'truncated' in text
        os.unlink(*folder.glob('snapshots/*/*'))
        use(server, monkeypatch, tmp_path / 'home')
        assert read_checkpoint('hf://some/model')['a'].sum() == 5000 and blob.read_bytes() == WEIGHTS

    def test_a_snapshot_whose_content_is_gone_is_downloaded_again(self, folder, server, monkeypatch, tmp_path):
        os.unlink(*folder.glob('blobs/*'))
        use(server, monkeypatch, tmp_path / 'home')
        assert read_checkpoint('hf://some/model')['a'].sum() == 5000

    def test_a_system_without_links_keeps_the_files_themselves(self, server, tmp_path, monkeypatch):
        monkeypatch.setattr('pathlib.Path.symlink_to', lambda *args: (_ for _ in ()).throw(OSError(1314, 'no right')))
        for _ in range(2):
            file = hub_file(Reference('some/model'))
            assert file.read_bytes() == WEIGHTS and not file.is_symlink() and not blobs(tmp_path)
        assert len(server.downloads()) == 1
        assert json.loads(hub_file(Reference('some/model', file='config.json')).read_text()) == {}
