"""Broken and malicious checkpoints, on every way into the program: refused, and nothing is run."""
import functools
import hashlib
import http.server
import os
import pickle
import subprocess
import threading

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint

from mmvision_mamba import MambaVision
from mmvision_mamba.backbones.checkpoint import archive_problem, read_checkpoint
from mmvision_mamba.engine.numpy_pickles import _Array
from mmvision_mamba.errors import CheckpointError

SMALL = dict(dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))


class Calls:
    """Pickled: a call of `function` with `args`; with a state, that is set on what it returns."""

    def __init__(self, function, *args, state=None):
        self.call = function, args, state

    def __reduce__(self):
        function, args, state = self.call
        return (function, args) if state is None else (function, args, state)


def dtype(name='f8', state=(3, '<', None, None, None, -1, -1, 0)):
    return Calls(np.dtype, name, False, True, state=state)


def array(dtype_, shape, data):
    return Calls(np._core.multiarray._reconstruct, np.ndarray, (0,), b'b', state=(1, shape, dtype_, False, data))


MALICIOUS = {
    'os.system': lambda flag: Calls(os.system, f'touch {flag}'),
    'subprocess': lambda flag: Calls(subprocess.Popen, ['touch', flag]),
    'eval': lambda flag: Calls(eval, f'open({flag!r}, "w")'),
    'exec': lambda flag: Calls(exec, f'open({flag!r}, "w")'),
    'open': lambda flag: Calls(open, flag, 'w'),
    'import': lambda flag: Calls(__import__, 'antigravity'),
    'getattr': lambda flag: Calls(getattr, Calls(__import__, 'os'), 'system'),
    'partial': lambda flag: functools.partial(os.mkdir, flag),
    'pickle in pickle': lambda flag: Calls(pickle.loads, pickle.dumps(Calls(os.mkdir, flag))),
    'torch.load': lambda flag: Calls(torch.load, flag),
    'method of a history': lambda flag: Calls(getattr, HistoryBuffer, '__init__'),
    'dtype with references': lambda flag: array(dtype(state=(3, '<', None, None, None, -1, -1, 63)), (4,), b'A' * 32),
    'number with references': lambda flag: Calls(np._core.multiarray.scalar, dtype(
        state=(3, '<', None, None, None, -1, -1, 63)), b'A' * 8),
    'dtype of objects': lambda flag: array(dtype('O', (3, '|', None, None, None, -1, -1, 63)), (4,), b'A' * 32),
    'dtype with fields': lambda flag: array(dtype('V8', (3, '|', None, ('a',), {'a': (np.dtype('O'), 0)}, 8, 1, 0)),
                                            (4,), b'A' * 32),
    'dtype of negative size': lambda flag: array(dtype('f8', (3, '<', None, None, None, -8, -1, 0)), (4,), b'A' * 32),
    'array larger than its bytes': lambda flag: array(dtype(), (1000,), b'A' * 32),
    'array of negative shape': lambda flag: array(dtype(), (-4,), b'A' * 32),
    'array of huge shape': lambda flag: array(dtype(), (2**62, 4), b''),
    'array allocated by a call': lambda flag: Calls(np.ndarray, (2**40,)),
}


def reads(path):
    """Every way into the program, as functions of a file."""
    def init_cfg():
        MambaVision(SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(path))).init_weights()

    def other_parts():  # mmengine's own PretrainedInit, of heads and of other backbones
        from mmengine.model import BaseModule
        module = BaseModule(dict(type='Pretrained', checkpoint=str(path)))
        module.weight = torch.nn.Parameter(torch.zeros(1))
        module.init_weights()

    return dict(read_checkpoint=lambda: read_checkpoint(path), init_cfg=init_cfg, other_parts=other_parts,
                load_from=lambda: CheckpointLoader.load_checkpoint(str(path)),
                test=lambda: load_checkpoint(torch.nn.Linear(1, 1), str(path)))


@pytest.mark.parametrize('name', MALICIOUS)
@pytest.mark.parametrize('zipped', [True, False], ids=['zip', 'legacy'])
def test_malicious(name, zipped, tmp_path):
    path, flag = tmp_path / 'w.pth', tmp_path / 'run'
    torch.save(dict(state_dict=dict(a=torch.ones(1)), meta=MALICIOUS[name](str(flag))), path,
               _use_new_zipfile_serialization=zipped)
    for way, read in reads(path).items():
        with pytest.raises(CheckpointError, match=r'w\.pth') as error:
            read()
        assert len(str(error.value).splitlines()) <= 2, way
    assert not flag.exists()


def test_bare_pickle_is_refused(tmp_path):
    (tmp_path / 'w.pkl').write_bytes(pickle.dumps(Calls(os.mkdir, str(tmp_path / 'run'))))
    for read in reads(tmp_path / 'w.pkl').values():
        with pytest.raises(CheckpointError):
            read()
    assert not (tmp_path / 'run').exists()


def test_model_zoos_and_s3(tmp_path, monkeypatch):
    """mmengine's other loaders end in `torch.load`, its fork's with the check switched off."""
    torch.save(dict(meta=Calls(os.mkdir, str(tmp_path / 'run'))), tmp_path / 'w.pth')
    torch.save(dict(a=torch.ones(2)), tmp_path / 'good.pth')
    from mmvision_mamba.engine.checkpoint import _without_code
    loader = _without_code(lambda filename, map_location: torch.load(filename, map_location, weights_only=False))
    with pytest.raises(CheckpointError, match=r'object of posix\.mkdir'):
        loader(str(tmp_path / 'w.pth'))
    assert loader(str(tmp_path / 'good.pth'))['a'].sum() == 2
    assert not (tmp_path / 'run').exists() and 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ
    safe = {prefix: hasattr(f, 'is_safe') or f.__module__.startswith('mmvision_mamba')
            for prefix, f in CheckpointLoader._schemes.items()}
    assert all(safe.values()) and len(safe) > 5, safe


@pytest.mark.parametrize('value', [
    np.float64(0.1), np.float32(3), np.float16(2), np.int64(-7), np.uint8(200), np.bool_(True), np.arange(6.),
    np.arange(6, dtype='>i4'), np.asfortranarray(np.arange(6).reshape(2, 3)), np.zeros((0, 3)), np.array(4.),
    np.array([True, False]), np.arange(624, dtype=np.uint32)], ids=repr)
def test_numpy_values_come_back(value, tmp_path):
    """What a Runner keeps of NumPy is read as it was, and can be saved and read again."""
    for _ in range(2):
        torch.save(dict(x=value), tmp_path / 'w.pth')
        found = read_checkpoint(tmp_path / 'w.pth')['x']
        assert np.array_equal(found, value) and found.shape == value.shape
        assert found.dtype == value.dtype.newbyteorder('=')
        value = found
    assert pickle.loads(pickle.dumps(value)).__class__ is not _Array


@pytest.mark.parametrize('keep', [dict(config='raise SystemExit'), dict(config='raise SystemExit', cfg='text')])
def test_a_config_that_mmengine_would_run_is_taken_out(keep, tmp_path):
    torch.save(dict(state_dict={}, meta=keep), tmp_path / 'w.pth')
    found = CheckpointLoader.load_checkpoint(str(tmp_path / 'w.pth'))['meta']
    assert found == {key: value for key, value in keep.items() if key != 'config'}


def test_bits_that_flipped_are_noticed(tmp_path):
    """torch reads over a flipped bit of a weight; over one in the archive itself zipfile raises this and that."""
    path = tmp_path / 'w.pth'
    torch.save(dict(a=torch.arange(4.)), path)
    whole = path.read_bytes()
    weights, directory = whole.index(torch.arange(4.).numpy().tobytes()), whole.index(b'PK\1\2')
    noticed = 0
    for offset in (*range(weights, weights + 16), *range(directory, len(whole))):
        path.write_bytes(whole[:offset] + bytes([whole[offset] ^ 1]) + whole[offset + 1:])
        problem = archive_problem(path)
        assert problem is None or problem.startswith(('bit-rotten', 'unreadable'))
        noticed += problem is not None
        if offset < weights + 16:
            with pytest.raises(CheckpointError, match=r'w\.pth: bit-rotten: w/data/0 is not what its checksum'):
                read_checkpoint(path)
    path.write_bytes(whole)
    assert archive_problem(path) is None and noticed > 200


def test_histories_come_back(tmp_path):
    history = HistoryBuffer([1., 2., 3.], [1, 1, 1])
    torch.save(dict(message_hub=dict(log_scalars=dict(loss=history))), tmp_path / 'w.pth')
    found = read_checkpoint(tmp_path / 'w.pth')['message_hub']['log_scalars']['loss']
    found.update(6.)
    assert found.mean(4) == 3 and found.statistics('max') == 6


# Hashes -------------------------------------------------------------------------------------------------------------

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
    assert not list(home.iterdir())
    assert read_checkpoint(f'{url}/w.pth#sha256={digest.upper()}')['a'].sum() == 2
    assert CheckpointLoader.load_checkpoint(f'{url}/w.pth#sha256={digest}')['a'].sum() == 2
    (home / 'w.pth').write_bytes((home / 'w.pth').read_bytes() + b'x')  # changed since
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
