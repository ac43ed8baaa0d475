"""Files whose SHA-256 is known: another one is refused, wherever it comes from."""
import hashlib
import http.server
import threading

import pytest
import torch
from mmengine.runner import CheckpointLoader

from mmvision_mamba import MambaVision
from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.errors import CheckpointError

from ..helpers.small_models import SMALL


@pytest.fixture
def server(tmp_path, monkeypatch):
    """(URL of a folder, the folder), served from this machine; downloads go to another."""
    folder = tmp_path / 'served'
    folder.mkdir()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        yield f'http://127.0.0.1:{http_server.server_port}', folder
        http_server.shutdown()
        thread.join()


def save(path) -> str:
    torch.save(dict(a=torch.ones(2)), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_downloads_are_checked(server, tmp_path):
    url, folder = server
    digest = save(folder / 'w.pth')
    home = tmp_path / 'home/hub/checkpoints'
    with pytest.raises(CheckpointError, match='another SHA-256 than 00000000, and was thrown away'):
        read_checkpoint(f'{url}/w.pth#sha256=00000000')
    assert not list(home.glob('*/*.p*'))
    assert read_checkpoint(f'{url}/w.pth#sha256={digest.upper()}')['a'].sum() == 2
    assert CheckpointLoader.load_checkpoint(f'{url}/w.pth#sha256={digest}')['a'].sum() == 2
    kept, = home.glob('*/w.pth')
    kept.write_bytes(kept.read_bytes() + b'x')  # changed since
    with pytest.raises(CheckpointError, match=f'expected {digest}: it is another file'):
        read_checkpoint(f'{url}/w.pth#sha256={digest}')


def test_hash_in_a_urls_name(server):
    url, folder = server
    digest = save(folder / 'w.pth')
    good, bad = f'model-{digest[:8]}.pth', 'model-abcdef12.pth'
    for name in (good, bad, 'model-20230405.pth'):
        (folder / name).write_bytes((folder / 'w.pth').read_bytes())
    if not digest[:8].isdecimal():
        assert read_checkpoint(f'{url}/{good}')['a'].sum() == 2
    assert read_checkpoint(f'{url}/model-20230405.pth')['a'].sum() == 2, 'a date is no hash'
    with pytest.raises(CheckpointError, match='another SHA-256 than abcdef12'):
        read_checkpoint(f'{url}/{bad}')


def test_local_files_and_init_cfg(tmp_path):
    path = tmp_path / 'w-abcdef12.pth'  # a local name says nothing
    model = MambaVision(SMALL)
    torch.save(model.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_checkpoint(path) and read_checkpoint(f'{path}#sha256={digest[:12]}')
    init_cfg = dict(type='Pretrained', checkpoint=str(path), sha256=digest)
    MambaVision(SMALL, init_cfg=init_cfg).init_weights()
    with pytest.raises(CheckpointError, match=f'has the SHA-256 {digest}, expected 0123456789'):
        MambaVision(SMALL, init_cfg=dict(init_cfg, sha256='0123456789')).init_weights()
    with pytest.raises(CheckpointError, match='8 to 64 hexadecimal digits'):
        read_checkpoint(path, sha256='abc')
