"""What mmengine's readers are given is a regular file, or comes in time."""
import os
import sys

import pytest
from mmengine.fileio import get, get_local_path, get_text, list_from_file, load

from mmvision_mamba import checkpoints
from mmvision_mamba.checkpoints import enforce_safe_reading
from mmvision_mamba.datasets.image_files import image_problem
from mmvision_mamba.errors import DataError

from ..helpers.servers import HEAD, answering, content, forever


@pytest.fixture(autouse=True)
def enforced(monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(checkpoints, '_enforced', False)
    enforce_safe_reading()


@pytest.mark.skipif(sys.platform == 'win32', reason='FIFOs and devices are of POSIX')
def test_regular_files_alone(tmp_path):
    os.mkfifo(tmp_path / 'fifo.json')
    (tmp_path / 'zero.json').symlink_to('/dev/zero')
    for name, kind in (('fifo.json', 'a FIFO'), ('zero.json', 'a device')):
        path = str(tmp_path / name)
        for read in (get, get_text, list_from_file, load, lambda path: get_local_path(path).__enter__()):
            with pytest.raises(DataError, match=f'{name}: it is {kind}, not a regular file'):
                read(path)
        assert image_problem(path) == f'the file cannot be read (it is {kind}, not a regular file)'
    (tmp_path / 'list.json').write_bytes(b'["a",\r\n"b"]')
    path = str(tmp_path / 'list.json')
    assert load(path) == ['a', 'b'] and get(path) == b'["a",\r\n"b"]' and get_text(path) == '["a",\n"b"]'
    with get_local_path(path) as local, get_local_path(str(tmp_path)) as folder:
        assert (local, folder) == (path, str(tmp_path))
    with pytest.raises(FileNotFoundError):
        get(str(tmp_path / 'none'))


def test_requests_that_end(monkeypatch):
    with answering(content(b'[1]')) as url:
        assert get(f'{url}/a') == b'[1]' and load(f'{url}/a.json') == [1]
        monkeypatch.setattr(checkpoints, '_enforced', False)
        assert get(f'{url}/a') == b'[1]', 'mmengine reads as ever'
        enforce_safe_reading()
    monkeypatch.setenv('MMVISION_MAMBA_IMAGE_SECONDS', '1')
    with answering(forever(HEAD, b'A: b\r\n', 0.05)) as url:
        with pytest.raises(DataError, match='did not send all of it within 1 second'):
            get(f'{url}/a.json')
        assert 'did not send all' in image_problem(f'{url}/a.png')
