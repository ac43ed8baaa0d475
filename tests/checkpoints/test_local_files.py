"""Downloads of checkpoints: each URL has its own, whole, from whom it should be, whatever was stopped or cached."""
import multiprocessing
import os
import re
import time
from threading import Thread

import pytest
import torch
from mmengine.runner import CheckpointLoader

from mmvision_mamba import downloads
from mmvision_mamba.checkpoints import local_files
from mmvision_mamba.checkpoints.local_files import digest, local_file
from mmvision_mamba.checkpoints.mmengine_loader import enforce
from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.errors import CheckpointError

from ..helpers.servers import HEAD, answering, content, forever, redirect

FORK = multiprocessing.get_context('fork' if os.name == 'posix' else None)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The folder of downloads."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    enforce()
    return tmp_path / 'home/hub/checkpoints'


def saved(folder, value) -> bytes:
    torch.save(dict(a=torch.tensor(value)), folder / 'saved.pth')
    return (folder / 'saved.pth').read_bytes()


def test_two_urls_with_one_base_name(tmp_path, cache):
    with answering(content(saved(tmp_path, 1))) as first, answering(content(saved(tmp_path, 2))) as second:
        for _ in range(2):
            assert read_checkpoint(f'{first}/a/w.pth')['a'] == 1
            assert read_checkpoint(f'{second}/a/w.pth')['a'] == 2
            assert CheckpointLoader.load_checkpoint(f'{first}/b/w.pth')['a'] == 1
            assert read_checkpoint(f'{second}/a/w.pth?version=2')['a'] == 2
    assert read_checkpoint(f'{first.replace("http", "HTTP")}/a/w.pth')['a'] == 1, 'kept'
    assert len(list(cache.glob('*/*'))) == len(list(cache.glob('*/w.pth'))) == 4


@pytest.mark.parametrize('name', ['', '..', '.', '%2e%2e', 'a%2f..%2f..%2fb', '%00', 'x' * 400 + '.pth', 'ü.pth',
                                  '.lock'])
def test_names_that_are_none(name, tmp_path, cache):
    with answering(content(saved(tmp_path, 3))) as url:
        file = local_file(f'{url}/{name}')
    assert file.parent.parent == cache and read_checkpoint(file)['a'] == 3


def test_what_lies_there_by_its_base_name_alone(tmp_path, cache):
    """torch.hub's and mmengine's: taken where it is the file that is asked for, for its URL isn't known."""
    cache.mkdir(parents=True)
    (cache / 'w.pth').write_bytes(saved(tmp_path, 4))
    known, url = digest(cache / 'w.pth'), 'https://127.0.0.1:1/w.pth'
    assert local_file(f'{url}#sha256={known[:8]}') == local_file(url, known) == cache / 'w.pth'
    with pytest.raises(CheckpointError, match=r'could not download [\s\S]*w.pth may be another URL.s') as error:
        local_file(url)
    place = re.search('Save it as (.*), name', str(error.value))[1]
    os.replace(cache / 'w.pth', place)
    assert read_checkpoint(url)['a'] == 4


def test_plain_http_needs_a_hash(tmp_path, monkeypatch, cache):
    body = saved(tmp_path, 5)
    known = digest(tmp_path / 'saved.pth')
    with answering(content(body)) as url, answering(redirect(url)) as away:
        monkeypatch.setattr(downloads, 'is_this_machine', lambda host: False)
        for given in (f'{url}/w.pth', f'{url}/w.pth#sha256={known[:8]}', f'{url}/w-{known[:8]}.pth', f'{away}/w.pth'):
            with pytest.raises(CheckpointError, match=r'plain http.*use https, or name its hash'):
                read_checkpoint(given)
        assert read_checkpoint(f'{away}/w.pth#sha256={known[:16]}')['a'] == 5
        with pytest.raises(CheckpointError, match=f'another SHA-256 than {"0" * 64}, and was thrown away'):
            read_checkpoint(f'{url}/v.pth', sha256='0' * 64)
    assert [path.name for path in cache.glob('*/*') if path.name != '.lock'] == ['w.pth']


@pytest.mark.parametrize('url', ['http://user:secret@127.0.0.1:1/w.pth', 'https://[::1/w.pth', 'https://h:99999/w.pth',
                                 'https://', 'https://%00/w.pth', 'ftp://h/w.pth', 'http://\ud800/w.pth', 's3://b/w.pth'])
def test_urls_of_no_file(url, cache):
    for read in (read_checkpoint, CheckpointLoader.load_checkpoint)[:1 + url.startswith('http')]:
        with pytest.raises(CheckpointError, match=r'could not download|are read from files') as error:
            read(url)
        assert 'secret' not in str(error.value)


def test_servers_that_send_no_file(cache, monkeypatch):
    monkeypatch.setenv(local_files.DOWNLOAD_BYTES.variable, '1000000')
    for answer, reason in (
            (forever(HEAD, b'A: b\r\n', 0.05), 'within 0.3 seconds'), (b'', 'RemoteDisconnected'),
            (forever(HEAD + b'\r\n', b'x', 0.05), 'came to a halt'), (content(b'abc')[:-1], 'breaks off after 2 of 3'),
            (forever(HEAD + b'\r\n', b'x' * 999), 'more than 1000000'), (redirect('file:///'), 'not over')):
        monkeypatch.setattr(downloads, 'ANSWER_SECONDS', 0.3 if '0.3' in reason else 60)
        monkeypatch.setattr(downloads, '_WINDOW', 0.3 if 'halt' in reason else 60)
        with answering(answer) as url, pytest.raises(CheckpointError, match=reason):
            read_checkpoint(f'{url}/w.pth')
    assert not [path for path in cache.glob('*/*') if path.name != '.lock'], 'nothing half-written stays'


@pytest.mark.skipif(os.name != 'posix', reason='it forks')
def test_several_processes_download_a_file_once(tmp_path, cache):
    asked, body = [], saved(tmp_path, 6)

    def answer(connection):
        asked.append(1)
        time.sleep(1)
        connection.sendall(content(body))
    with answering(answer) as url:
        processes = [FORK.Process(target=local_file, args=(f'{url}/w.pth',)) for _ in range(3)]
        [process.start() for process in processes], [process.join() for process in processes]
        assert [process.exitcode for process in processes] == [0] * 3
        assert asked == [1] and read_checkpoint(f'{url}/w.pth')['a'] == 6


@pytest.mark.skipif(os.name != 'posix', reason='it forks')
def test_what_a_killed_download_leaves_is_removed_at_the_next_one(tmp_path, cache):
    with answering(forever(HEAD + b'\r\n', b'x' * 999, 0.01)) as url:
        process = FORK.Process(target=local_file, args=(f'{url}/w.pth',))
        process.start()
        while not list(cache.glob('*/*.part')):
            time.sleep(0.05)
        process.kill()
        process.join()
    left, = cache.glob('*/*.part')
    os.utime(left, (0, 0))
    in_use = left.with_name('v.pth.999999999.0.part')  # another machine's, or another container's
    in_use.write_bytes(b'x')
    with answering(content(saved(tmp_path, 7))) as url:
        assert read_checkpoint(f'{url}/other.pth')['a'] == 7
    assert list(cache.glob('*/*.part')) == [in_use]
    os.utime(in_use, (0, 0))
    with answering(content(saved(tmp_path, 8))) as url:
        threads = [Thread(target=read_checkpoint, args=(f'{url}/w.pth',)) for _ in range(4)]
        [thread.start() for thread in threads], [thread.join() for thread in threads]
        assert read_checkpoint(f'{url}/w.pth')['a'] == 8
    assert not list(cache.glob('*/*.part'))


def test_half_downloads_of_others_stay(tmp_path, cache):
    others = [cache / 'theirs' / name for name in (
        'w.part', '.part', 'w.b.c.part', f'w.{10**20}.a.part', 'w.1.xyz.part')]
    for path in others:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'x')
        os.utime(path, (0, 0))
    with answering(content(saved(tmp_path, 9))) as url:
        assert read_checkpoint(f'{url}/w.pth')['a'] == 9
    assert all(path.exists() for path in others)


def test_other_sources_of_mmengine_download_likewise(tmp_path, cache, monkeypatch):
    from mmengine.runner import checkpoint
    with answering(content(saved(tmp_path, 9))) as url:
        monkeypatch.setattr(checkpoint, 'get_torchvision_models', lambda: dict(net=f'{url}/net.pth'))
        assert CheckpointLoader.load_checkpoint('torchvision://net')['a'] == 9
    assert [path.name for path in cache.glob('*/*')] == ['net.pth']
