"""Pushing to a Hub that works, fails or lies: a line, in time, and nobody else gets the token."""
import itertools
import json
import re
import socket
import time

import pytest

from mmvision_mamba import downloads
from mmvision_mamba.errors import CheckpointError, ConfigError, UserError
from mmvision_mamba.sharing.push import push

from ..helpers.hub_server import hub, hub_of_a_user

WEIGHTS = b'x' * 2000


@pytest.fixture
def folder(tmp_path):
    saved = tmp_path / 'saved'
    saved.mkdir()
    for name, content in {'model.safetensors': WEIGHTS, 'config.json': b'{"a": 1}', 'other.pth': b'secret'}.items():
        (saved / name).write_bytes(content)
    return saved


@pytest.fixture
def server(tmp_path, monkeypatch):
    with hub_of_a_user(tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture
def elsewhere(tmp_path):
    with hub(tmp_path / 'elsewhere') as other:
        yield other


def alter(server, where: str, change):
    """Let the server answer what `change` makes of a status, content and headers, where a path ends with `where`."""
    server.alter = lambda command, path, *answer: change(*answer) if path.endswith(where) else answer


def refused(folder, repo: str = 'a/b', lines: int = 1) -> str:
    start = time.monotonic()
    with pytest.raises(UserError) as raised:
        push(repo, lambda: folder)
    assert time.monotonic() - start < 30
    text = str(raised.value)
    assert 'hf_secret' not in text and len(text.splitlines()) == lines and '\x1b' not in text
    return text


def test_a_folder_is_pushed_once_and_the_token_goes_to_the_hub_alone(server, elsewhere, folder, capfd):
    def stored_elsewhere(code, content, headers):
        for item in content['objects']:
            item['actions'] = dict(upload=dict(href=f"{elsewhere.url}/lfs/{item['oid']}"),
                                   verify=dict(href=f'{elsewhere.url}/lfs/verify'))
        return code, content, headers
    alter(server, '/objects/batch', stored_elsewhere)
    seen = {}
    server.large = elsewhere.large  # what is stored there is the Hub's
    assert push('a/b', lambda: folder, private=True) == f'{server.url}/a/b' and server.private == {'a/b'}
    assert {name: path.read_bytes() for name, path in server.files('a/b').items()} == {
        'model.safetensors': WEIGHTS, 'config.json': b'{"a": 1}'}
    assert [(method, token) for method, _, token in elsewhere.asked] == [('PUT', None), ('POST', None)]
    assert {token for _, _, token in server.asked} == {'Bearer hf_secret'} and 'hf_secret' not in capfd.readouterr().err

    def verified_here(code, content, headers):
        for item in content['objects']:
            item['actions'] = dict(upload=dict(href=f"{server.url}/lfs/{item['oid']}"),
                                   verify=dict(href=f'{server.url}/lfs/verify'))
            seen[item['oid']] = item['size']
        return code, content, headers
    alter(server, '/objects/batch', verified_here)
    server.asked.clear()
    push('a/b', lambda: folder, yes=True)
    assert {path: token for _, path, token in server.asked}['/lfs/verify'] == 'Bearer hf_secret'
    assert {*seen.values()} == {2000} and ('PUT', f'/lfs/{next(iter(seen))}', None) in server.asked


def test_what_the_hub_has_is_not_sent_again_and_large_files_go_to_its_storage(server, folder, monkeypatch):
    push('a/b', lambda: folder)
    alter(server, '/objects/batch', lambda code, content, headers: (
        code, dict(objects=[dict(oid=item['oid'], size=item['size']) for item in content['objects']]), headers))
    server.asked.clear()
    push('a/b', lambda: folder, yes=True)
    assert 'PUT' not in {method for method, _, _ in server.asked}
    monkeypatch.setattr('mmvision_mamba.sharing.push._SMALL', 1000)
    alter(server, '/preupload/main', lambda code, content, headers: (code, dict(files=[]), headers))
    push('a/c', lambda: folder)
    assert 'PUT' in {method for method, _, _ in server.asked}
    assert server.files('a/c')['model.safetensors'].read_bytes() == WEIGHTS


def test_a_busy_hub_is_asked_again(server, folder):
    busy = dict.fromkeys(('/repos/create', '/preupload/main', '/objects/batch', '/commit/main'), 2)

    def change(command, path, code, content, headers):
        for where in busy:
            if path.endswith(where) and busy[where]:
                busy[where] -= 1
                return 503, b'', {}
        return code, content, headers
    server.alter = change
    push('a/b', lambda: folder)
    assert not any(busy.values()) and {*server.files('a/b')} == {'model.safetensors', 'config.json'}


def test_a_repository_made_meanwhile_is_not_overwritten(server, folder):
    def save():
        server.add('a/b', {'model.safetensors': b'of another'})
        return folder
    with pytest.raises(ConfigError, match=r'/a/b holds files already: model\.safetensors\.\n'):
        push('a/b', save)
    assert server.files('a/b')['model.safetensors'].read_bytes() == b'of another'


def test_what_is_to_be_private_does_not_go_to_a_public_repository(server, folder):
    server.add('a/b', {'.gitattributes': b''})
    with pytest.raises(ConfigError, match=r'/a/b is there already, and public: make it private in its settings'):
        push('a/b', lambda: folder, private=True)
    assert {*server.files('a/b')} == {'.gitattributes'}
    server.private.add('a/b')
    push('a/b', lambda: folder, private=True)


STEPS = ('/repos/create', '/preupload/main', '/objects/batch', '/commit/main')


@pytest.mark.parametrize('where', [*STEPS, '/api/models/a/b'])
@pytest.mark.parametrize(('change', 'message'), [
    (lambda *answer: (500, b'Bearer hf_secret', {}), 'answers 500'),
    (lambda *answer: (402, b'', {'X-Error-Message': 'hf_secret \x1b[31m'}), 'answers 402'),
    (lambda *answer: (200, b'[' * 10**5, {}), 'as no Hub does|no list of files'),
    (lambda *answer: (200, b'<html>hf_secret', {}), 'as no Hub does|no list of files'),
    (lambda *answer: (200, b'[1]', {}), 'as no Hub does|no list of files'),
    (lambda *answer: (200, b' ' * (2**24 + 1), {}), r'it has more than \d+ bytes')], ids=range(6))
def test_a_hub_that_fails_or_lies_gets_a_line(server, folder, where, change, message):
    alter(server, where, change)
    assert re.search(message, refused(folder))


@pytest.mark.parametrize('where', STEPS)
def test_what_is_sent_is_not_redirected(server, elsewhere, folder, where):
    alter(server, where, lambda *answer: (307, b'', dict(Location=f'{elsewhere.url}/hf_secret')))
    assert 'it redirects what is sent, which goes nowhere else' in refused(folder)
    assert not elsewhere.asked


@pytest.mark.parametrize(('where', 'answer', 'message'), [
    ('/repos/create', (403, {}), r'answers 403: may the token that is set write to a/b\?'),
    ('/preupload/main', (401, {}), r'a token that is set may be valid no longer'),
    ('/preupload/main', (200, dict(files=5)), 'as no Hub does'), ('/objects/batch', (200, {}), 'as no Hub does'),
    ('/objects/batch', (200, dict(objects=[5, dict(oid=[1])])), 'as no Hub does'),
    ('/commit/main', (409, {}), 'answers 409'), ('/commit/main', (200, {}), 'as no Hub does'),
    ('/commit/main', (200, dict(commitOid=[[]])), 'as no Hub does'), ('/commit/main', None, "it can't be pushed to ")])
def test_answers_of_other_kinds(server, folder, where, answer, message):
    def change(code, content, headers):
        if answer is None:
            raise ConnectionResetError
        return (*answer, headers)
    alter(server, where, change)
    assert re.search(message, refused(folder))


@pytest.mark.parametrize(('item', 'message'), [
    (dict(error=dict(code=422, message='hf_secret')), 'it does not take model.safetensors'),
    (dict(actions='upload'), 'as no Hub does'), (dict(actions=dict(upload=5)), 'as no Hub does'),
    (dict(actions=dict(upload=dict(href=5))), 'as no Hub does'),
    (dict(actions=dict(upload=dict(href='file:///etc/passwd'))), 'not over file'),
    (dict(actions=dict(upload=dict(href='http://mirror.example/x'))), 'plain http'),
    (dict(actions=dict(upload=dict(href='http://[::1'))), 'it is no URL|Invalid IPv6'),
    (dict(actions=dict(upload=dict(href='http://hf_secret@127.0.0.1/'))), 'a user name or password'),
    (dict(actions=dict(upload=dict(href='http://127.0.0.1:1/x'))), 'where model.safetensors is to go, .*refused'),
    (dict(actions=dict(upload=dict(href='HERE/none'))), 'where model.safetensors is to go, it answers 401'),
    (dict(actions=dict(upload=dict(href='HERE/lfs/x'), verify=dict(href='http://[::1'))), 'no URL|Invalid IPv6')],
    ids=range(11))
def test_where_large_files_go_is_checked(server, folder, item, message):
    text = json.dumps(item).replace('HERE', server.url)
    alter(server, '/objects/batch', lambda code, content, headers: (
        code, dict(objects=[found | json.loads(text) for found in content['objects']]),
        headers))
    assert re.search(message, refused(folder))


@pytest.mark.parametrize('where', STEPS)
def test_a_hub_that_never_ends_is_left(server, folder, monkeypatch, where):
    monkeypatch.setattr(downloads, '_WINDOW', 0.4)
    alter(server, where, lambda *answer: (200, (time.sleep(0.05) or b' ' for _ in itertools.count()), {}))
    assert 'it came to a halt: less than 4096 bytes a second' in refused(folder)
    alter(server, where, lambda *answer: (200, itertools.repeat(b' ' * 2**14), {}))
    assert 'it has more than 1048576 bytes' in refused(folder, 'a/c')


def test_a_token_is_not_sent_over_plain_http_nor_shown_where_it_is_none(monkeypatch, tmp_path, server):
    monkeypatch.setenv('HF_TOKEN', 'hf_secret\x7fü')
    with pytest.raises(CheckpointError, match='has characters that no token has') as raised:
        push('a/b', lambda: tmp_path)
    assert 'hf_secret' not in str(raised.value)
    monkeypatch.setenv('HF_TOKEN', 'hf_secret')
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_OFFLINE', True)
    with pytest.raises(ConfigError, match=r'^a/b: HF_HUB_OFFLINE is set'):
        push('a/b', lambda: tmp_path)
    monkeypatch.setattr('huggingface_hub.constants.ENDPOINT', 'http://mirror.example')
    with pytest.raises(CheckpointError, match=r'HF_ENDPOINT=http://mirror\.example in the environment: expected https'):
        push('a/b', lambda: tmp_path)
    assert not server.asked


def test_files_that_are_too_large_or_none_are_not_pushed(server, folder, tmp_path):
    with (folder / 'model.safetensors').open('r+b') as file:
        file.truncate(5 * 2**30 + 1)  # a hole, which takes no room on the disk
    message = refused(folder, lines=2)
    assert 'has 5368709121 bytes, and at most 5368709120 are pushed of it' in message and 'hf upload' in message
    (folder / 'model.safetensors').write_bytes(WEIGHTS)
    (folder / 'README.md').symlink_to(tmp_path / 'key')
    (tmp_path / 'key').write_text('secret')
    assert 'README.md\' is no regular file' in refused(folder)
    (folder / 'README.md').unlink()
    (folder / 'config.json').unlink()
    assert 'has no config.json, and is no folder of a saved model' in refused(folder)
    assert not server.files('a/b') and not any('/repos/create' in path for _, path, _ in server.asked)


def test_a_server_that_takes_nothing_more_is_left(server, elsewhere, folder, monkeypatch):
    """Of an upload, too, bytes have to keep going."""
    monkeypatch.setattr(downloads, '_WINDOW', 0.4)
    (folder / 'model.safetensors').write_bytes(WEIGHTS * 2**13)  # more than the sockets hold
    with socket.create_server(('127.0.0.1', 0)) as deaf:
        url = f'http://127.0.0.1:{deaf.getsockname()[1]}/lfs/x'
        alter(server, '/objects/batch', lambda code, content, headers: (code, dict(objects=[
            found | dict(actions=dict(upload=dict(href=url))) for found in content['objects']]), headers))
        assert 'it came to a halt: less than 4096 bytes a second' in refused(folder)
    assert not server.files('a/b')
