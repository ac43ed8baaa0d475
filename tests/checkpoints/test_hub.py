"""The Hub: what names mean, its cache, broken downloads, several processes, and every failure in a line or two."""
import multiprocessing
import os
import subprocess
import sys

import pytest
import torch
from mmengine.runner import CheckpointLoader
from safetensors.torch import save

from mmvision_mamba.checkpoints.hub import Reference, hub_file, parsed
from mmvision_mamba.checkpoints.local_files import digest, local_file
from mmvision_mamba.checkpoints.mmengine_loader import register
from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.errors import CheckpointError
from mmvision_mamba.published import MODELS

from ..helpers import ROOT
from ..helpers.hub_server import hub, use

FORK = multiprocessing.get_context('fork' if os.name == 'posix' else None)
TOKEN = 'hf_verysecrettoken'


@pytest.fixture
def server(tmp_path, monkeypatch):
    with hub(tmp_path / 'served') as served:
        served.add('some/model', {'model.safetensors': weights(1), 'other.pth': b'x', 'config.json': b'{}'})
        use(served, monkeypatch, tmp_path / 'home')
        yield served


def weights(value: float, name: str = 'a') -> bytes:
    return save({name: torch.full((1000,), value)})


def value(reference: str) -> float:
    return read_checkpoint(reference)['a'][0].item()


@pytest.mark.parametrize(('path', 'expected'), [
    ('hf://some/model', Reference('some/model')), ('hf-hub:some/model', Reference('some/model')),
    ('hf://some/model@v1.0', Reference('some/model', 'v1.0')),
    ('hf-hub:some/model@refs/pr/3', Reference('some/model', 'refs/pr/3')),
    ('hf://some/model/a/b.pth', Reference('some/model', None, 'a/b.pth')),
    ('hf://some/mo.d-el@main/b.pth', Reference('some/mo.d-el', 'main', 'b.pth')),
    ('https://huggingface.co/some/model/resolve/v/a%20b.pth?download=true', Reference('some/model', 'v', 'a b.pth')),
    ('https://huggingface.co/datasets/some/resolve/main/b.pth', None),
    ('https://host/some/model/resolve/main/b.pth', None),
    ('https://huggingface.co.evil.com/some/model/resolve/main/b.pth', None),
    ('https://huggingface.co/some/model/blob/main/b.pth', None), ('w.pth', None), ('some/model', None)])
def test_what_names_mean(path, expected):
    assert parsed(path) == expected


@pytest.mark.parametrize('path', [
    'hf://', 'hf://model', 'hf-hub:model', 'hf://some/..', 'hf://some/model@', 'hf://some/model/../x', 'hf://some/model//x',
    'hf://some/model/a\\..\\b', 'hf://user:secret@some/model', 'hf://some/model?x', 'hf://some/model/%2e%2e/x',
    'hf://some/model@%2e%2e', 'hf://some/model@a%2f..%2f../x',
    'hf://\x1b[31m/x', 'https://huggingface.co/some/model/resolve/main/%2e%2e/x'])
def test_names_that_are_none(path):
    with pytest.raises(CheckpointError, match=r'expected hf://OWNER/REPO|is no (file|revision) of a') as error:
        read_checkpoint(path)
    assert 'secret' not in str(error.value) and '\x1b' not in str(error.value)


def test_a_repository_is_downloaded_once_and_prefers_safetensors(server, tmp_path, monkeypatch):
    for name in ('hf://some/model', 'hf-hub:some/model@main', f'hf://some/model@{server.commit("some/model")}',
                 'https://huggingface.co/some/model/resolve/main/model.safetensors'):
        assert value(name) == 1
    assert server.downloads() == ['some/model/model.safetensors']
    assert local_file('hf://some/model').parts[len((tmp_path / 'home').parts):][:2] == ('hub', 'models--some--model')
    known = digest(local_file('hf://some/model'))
    assert value(f'hf://some/model#sha256={known}') == 1
    with pytest.raises(CheckpointError, match='expected 00000000: it is another file'):
        value('hf://some/model#sha256=00000000')
    for offline in (False, True):  # no network, and none wanted
        use(None, monkeypatch, tmp_path / 'home', offline)
        assert value('hf://some/model') == value('hf-hub:some/model@main') == 1


def test_new_weights_replace_the_old_and_a_commit_stays(server):
    old = server.commit('some/model')
    assert value(f'hf://some/model@{old}') == 1
    server.add('some/model', {'model.safetensors': weights(2)})
    assert (value('hf://some/model'), value(f'hf://some/model@{old}/model.safetensors')) == (2, 1)


def test_other_files(server):
    torch.save(dict(a=torch.ones(1)), server.folder / 'w.pth')
    content = (server.folder / 'w.pth').read_bytes()
    server.add('some/pth', {'some.pth': content, 'config.json': b'{}', 'sub/x.pth': content})
    server.add('some/bin', {'pytorch_model.bin': content, 'x.pth': b'x'})
    server.add('some/both', {'x.pth': content, 'y.pth': content})
    server.add('some/none', {'README.md': b''})
    assert [value(f'hf://some/{name}') for name in ('pth', 'bin', 'both/x.pth', 'pth/sub/x.pth')] == [1] * 4
    for name, words in dict(both='there are x.pth, y.pth', none='it has none of model.safetensors,').items():
        with pytest.raises(CheckpointError, match=f'name the file of weights, hf://some/{name}/FILE: {words}'):
            value(f'hf://some/{name}')


def test_several_files(server, tmp_path, monkeypatch):
    index = b'{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}'
    parts = {'model-1.safetensors': weights(1), 'model-2.safetensors': weights(2, 'b')}
    server.add('some/large', {'model.safetensors.index.json': index, **parts})
    server.add('some/large', {f'sub/{name}': content for name, content in parts.items()})
    server.add('some/large', {'sub/model.safetensors.index.json': index})
    for name in ('hf://some/large', 'hf://some/large/sub/model.safetensors.index.json'):
        found = read_checkpoint(name)
        assert (found['a'][0], found['b'][0]) == (1, 2)
    use(None, monkeypatch, tmp_path / 'home', offline=True)
    assert read_checkpoint('hf://some/large')['b'][0] == 2


def test_a_broken_download_goes_on_where_it_broke_off(server):
    server.add('some/broken', {'model.safetensors': weights(3)})
    server.breaks, server.times = 1500, 1
    assert value('hf://some/broken') == 3
    assert len(server.downloads()) == 2


@pytest.mark.skipif(os.name != 'posix', reason='it forks')
def test_several_processes_download_a_file_once(server):
    processes = [FORK.Process(target=local_file, args=('hf://some/model',)) for _ in range(3)]
    [process.start() for process in processes], [process.join() for process in processes]
    assert [process.exitcode for process in processes] == [0] * 3
    assert len(server.downloads()) == 1


def test_failures_are_told_in_a_line_or_two(server, tmp_path, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', TOKEN)
    server.add('some/gated', {'model.safetensors': weights(1)})
    server.gated.add('some/gated')
    page = f'{server.url}/some'
    for name, words in {
            'hf://some/gated': f'some/gated is gated: accept its conditions at {page}/gated, then log in with',
            'hf://some/gated/model.safetensors': 'some/gated is gated',
            'hf://some/nothing': f'there is no some/nothing at {server.url}, or it is private',
            'hf://some/nothing/x.pth': 'there is no some/nothing',
            'hf://some/model@v9': f'some/model has no branch, tag or commit v9: see {page}/model/tree/main',
            'hf://some/model@v9/other.pth': 'no branch, tag or commit v9',
            'hf://some/model/x.pth': f'some/model has no file x.pth: see {page}/model/tree/main'}.items():
        with pytest.raises(CheckpointError, match=words.replace('.', r'\.')) as error:
            read_checkpoint(name)
        assert len(str(error.value).splitlines()) == 1 and TOKEN not in str(error.value)
    assert {token for _, _, token in server.asked} == {f'Bearer {TOKEN}'}
    for offline, words in ((False, 'http://127.0.0.1:1 can not be reached .*refused'), (True, 'HF_HUB_OFFLINE is set')):
        use(None, monkeypatch, tmp_path / 'home', offline)
        with pytest.raises(CheckpointError, match=f'{words}.*not in the cache, {tmp_path}/home/hub') as error:
            read_checkpoint('hf://some/elsewhere')
        assert 'or name a local file' in str(error.value).splitlines()[1]


def test_an_overloaded_hub_leaves_what_is_cached(server, monkeypatch):
    assert value('hf://some/model') == 1
    server.fails = 503
    assert value('hf://some/model') == 1


def test_mmengine_reads_them_in_any_process(server):
    register()
    for name in ('hf://some/model', 'hf-hub:some/model'):
        assert CheckpointLoader.load_checkpoint(name)['a'][0] == 1


class TestPublishedUrls:
    """URLs that are in configs: the same weights as safetensors, or what was downloaded before."""
    model = next(model for model in MODELS if model.safetensors)

    def test_the_same_weights_are_taken_as_safetensors(self, server, tmp_path, monkeypatch):
        server.add(self.model.repo, {'model.safetensors': weights(1), self.model.file: weights(2)})
        assert value(self.model.url) == 1
        known = digest(server.folder / self.model.repo / self.model.file)
        assert value(f'{self.model.url}#sha256={known}') == 2, 'a hash is of that file'
        use(None, monkeypatch, tmp_path / 'home', offline=True)
        assert value(self.model.url) == 1

    def test_a_mirror_without_safetensors(self, server):
        server.add(self.model.repo, {self.model.file: weights(2)})
        assert value(self.model.url) == 2

    def test_what_torch_hub_downloaded_before_is_found(self, server, tmp_path):
        path = tmp_path / 'home/torch/hub/checkpoints' / self.model.file
        path.parent.mkdir(parents=True)
        path.write_bytes(weights(3))
        assert value(self.model.url) == 3 and not server.asked
        with pytest.raises(CheckpointError, match='there is no someone/MambaVision'):  # not taken for another's
            value(self.model.url.replace('nvidia', 'someone'))


def test_a_server_of_ones_own_may_be_of_plain_http(server):
    assert server.url.startswith('http://') and hub_file(Reference('some/model')).is_file()


@pytest.mark.parametrize('endpoint', ['nonsense', 'http://[::1', 'https://', 'https://host:99999999', 'https://a b'])
def test_an_endpoint_that_is_no_url_is_refused(endpoint, monkeypatch):
    constants = pytest.importorskip('huggingface_hub.constants')
    monkeypatch.setattr(constants, 'ENDPOINT', endpoint)
    with pytest.raises(CheckpointError, match=r'HF_ENDPOINT=.* in the environment: expected https'):
        read_checkpoint('hf://owner/repo')


def test_a_home_that_is_no_folder_is_refused(monkeypatch, tmp_path):
    constants = pytest.importorskip('huggingface_hub.constants')
    (tmp_path / 'file').touch()
    for home in ('', str(tmp_path / 'file')):
        monkeypatch.setenv('HF_HOME', home)
        monkeypatch.setattr(constants, 'HF_HOME', home)
        with pytest.raises(CheckpointError, match=f"HF_HOME='{home}' in the environment: name a folder, or unset it"):
            read_checkpoint('hf://owner/repo')


def test_variables_that_the_hubs_library_can_not_read_are_a_line(tmp_path):
    pytest.importorskip('huggingface_hub')
    code = ('from mmvision_mamba.checkpoints.hub import library\nfrom mmvision_mamba.errors import CheckpointError\n'
            'try: library()\nexcept CheckpointError as error: print(error)')
    run = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT,
                         env={**os.environ, 'HF_HUB_DOWNLOAD_TIMEOUT': 'soon', 'HF_HOME': str(tmp_path)})
    assert run.returncode == 0 and 'can not read its variables' in run.stdout, run.stderr
    assert 'HF_HUB_DOWNLOAD_TIMEOUT' in run.stdout and len(run.stdout.splitlines()) == 1


def test_an_endpoint_of_plain_http_is_refused(monkeypatch):
    constants = pytest.importorskip('huggingface_hub.constants')
    monkeypatch.setattr(constants, 'ENDPOINT', 'http://mirror.example')
    with pytest.raises(CheckpointError, match=r'HF_ENDPOINT=http://mirror\.example in the environment: expected https'):
        read_checkpoint('hf://owner/repo')


@pytest.mark.parametrize('tag', ['"same"', 'W/"same"', '0' * 40, 'AB' * 32])
def test_files_that_a_mirror_names_alike_are_kept_apart(server, tag, monkeypatch, tmp_path):
    """Names that are no SHA-256 are not taken for hashes: contents that share one, of equal size too, stay apart."""
    server.alter = lambda command, path, code, content, headers: (code, content, {
        **headers, 'ETag': tag} if '/resolve/' in path else headers)
    server.add('some/alike', {'model.safetensors': weights(1), 'other.safetensors': weights(2), 'config.json': b'{}'})
    names = ['hf://some/alike', 'hf://some/alike/other.safetensors', 'hf://some/alike']
    assert [value(name) for name in names] == [1, 2, 1]
    assert hub_file(Reference('some/alike', None, 'config.json')).read_text() == '{}'
    server.add('some/alike', {'model.safetensors': weights(3)})
    assert [value(name) for name in names] == [3, 2, 3]
    server.add('some/broken', {'model.safetensors': weights(4)})
    server.breaks, server.times = 1500, 1
    assert value('hf://some/broken') == 4, 'begun anew: nothing tells that both halves are of one file'
    assert not server.ranges


def test_a_name_that_looks_like_a_hash_and_is_none_is_refused(server):
    server.alter = lambda command, path, code, content, headers: (code, content, {
        **headers, 'ETag': f'"{"ab" * 32}"'} if '/resolve/' in path else headers)
    with pytest.raises(CheckpointError, match='has another SHA-256 than the Hub names, and was thrown away'):
        value('hf://some/model')
    assert not [path for path in (server.folder.parent / 'home').rglob('*') if path.is_file()
                and path.stat().st_size > 1000]
