"""Reading: no code is run, broken files are noticed, URLs are downloaded once."""
import argparse
import os
import zipfile

import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmvision_mamba.checkpoints.reading import archive_problem, read_checkpoint, read_safely
from mmvision_mamba.errors import CheckpointError

from ..helpers.calls import Calls
from ..helpers.small_models import imagenet_state


@pytest.mark.parametrize('new_format', [True, False])
def test_files_that_would_run_code_are_refused(tmp_path, new_format):
    torch.save(dict(state_dict=imagenet_state(), extra=Calls(os.mkdir, str(tmp_path / 'run'))), tmp_path / 'w.pth',
               _use_new_zipfile_serialization=new_format)
    with pytest.raises(CheckpointError, match=r'object of posix\.mkdir, which is neither a tensor nor'):
        read_checkpoint(tmp_path / 'w.pth')
    assert not (tmp_path / 'run').exists()


def test_getattr_reaches_nothing_but_the_names_of_a_historys_methods(tmp_path):
    torch.save(dict(ok=Calls(getattr, HistoryBuffer, 'mean')), tmp_path / 'ok.pth')
    assert read_checkpoint(tmp_path / 'ok.pth')['ok'] == 'mean'
    for args in ((HistoryBuffer, '__init__'), (argparse.Namespace, 'mro'), (HistoryBuffer, '_set_default_statistics')):
        torch.save(dict(bad=Calls(getattr, *args)), tmp_path / 'bad.pth')
        with pytest.raises(CheckpointError):
            read_checkpoint(tmp_path / 'bad.pth')


def test_histories_come_back(tmp_path):
    history = HistoryBuffer([1., 2., 3.], [1, 1, 1])
    torch.save(dict(message_hub=dict(log_scalars=dict(loss=history))), tmp_path / 'w.pth')
    found = read_checkpoint(tmp_path / 'w.pth')['message_hub']['log_scalars']['loss']
    found.update(6.)
    assert found.mean(4) == 3 and found.statistics('max') == 6


@pytest.mark.parametrize('keep', [0, 1, 100, 0.5, 0.99])
def test_truncated_files(tmp_path, keep):
    torch.save(imagenet_state(), tmp_path / 'w.pth')
    content = (tmp_path / 'w.pth').read_bytes()
    (tmp_path / 'w.pth').write_bytes(content[:keep if isinstance(keep, int) else int(keep * len(content))])
    with pytest.raises(CheckpointError, match=r'w\.pth is truncated or not a checkpoint'):
        read_checkpoint(tmp_path / 'w.pth')


def test_a_file_that_may_not_be_read_is_not_called_broken(tmp_path, monkeypatch):
    torch.save(dict(a=torch.ones(2)), tmp_path / 'w.pth')

    def refuse(path, *args):
        raise PermissionError(13, 'Permission denied', path)
    monkeypatch.setattr('mmvision_mamba.files.os.open', refuse)
    with pytest.raises(CheckpointError, match=r'w\.pth can not be read: Permission denied$'):
        read_checkpoint(tmp_path / 'w.pth')


def test_not_a_checkpoint(tmp_path):
    (tmp_path / 'w.pth').write_text('<html>404</html>')
    with pytest.raises(CheckpointError, match='truncated or not a checkpoint'):
        read_checkpoint(tmp_path / 'w.pth')


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


@pytest.mark.parametrize('error', [
    MemoryError(), RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
                                'memory: you tried to allocate 8 bytes. Error code 12 (Cannot allocate memory)'),
    RuntimeError('unable to mmap 8 bytes from file <w.pth>: Cannot allocate memory (12)')],
    ids=['Python', 'torch', 'map'])
def test_too_little_memory_is_no_damage(error, tmp_path):
    def read():
        raise error
    with pytest.raises(CheckpointError, match=r'w\.pth needs more memory than there is'):
        read_safely(tmp_path / 'w.pth', read)


def test_an_archive_that_memory_does_not_suffice_for_is_not_called_rotten(tmp_path, monkeypatch):
    torch.save(dict(a=1), tmp_path / 'w.pth')

    def full(*_):
        raise MemoryError
    monkeypatch.setattr(zipfile.ZipFile, 'testzip', full)
    assert archive_problem(tmp_path / 'w.pth') == 'unreadable: there is too little memory'
