"""Weights in several files: all of them are read, each in its format, and none elsewhere."""
import json
import os

import pytest
import torch
from safetensors.torch import save_file

from mmvision_mamba.checkpoints.local_files import digest
from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.errors import CheckpointError

from ..helpers.calls import Calls


def index(folder, shards, name='model.safetensors.index.json'):
    (folder / name).write_text(json.dumps(dict(metadata=dict(total_size=1), weight_map=shards)))
    return folder / name


def test_both_formats(tmp_path):
    first, second = dict(a=torch.ones(1), b=torch.ones(2)), dict(c=torch.ones(3))
    save_file(first, tmp_path / 'model-1.safetensors')
    save_file(second, tmp_path / 'model-2.safetensors')
    torch.save(first, tmp_path / 'model-1.bin')
    torch.save(second, tmp_path / 'model-2.bin')
    for suffix in ('safetensors', 'bin'):
        path = index(tmp_path, {key: f'model-{1 + (key == "c")}.{suffix}' for key in 'abc'}, f'm.{suffix}.index.json')
        assert {key: len(value) for key, value in read_checkpoint(path).items()} == dict(a=1, b=2, c=3)


@pytest.mark.parametrize('shard', ['../w.safetensors', '/etc/passwd', 'a/b.bin', '..', '.bin', 'w.json', 'w.pth', '', 3,
                                   'https://h/w.bin', 'w.bin\n'])
def test_files_elsewhere_are_refused(shard, tmp_path):
    with pytest.raises(CheckpointError, match='is refused: expected the names of'):
        read_checkpoint(index(tmp_path, dict(a=shard)))


@pytest.mark.parametrize('text', ['', '[]', '{"weight_map": {}}', '{"weight_map": 3}', '[' * 10**5, b'\xff\xfe\xff'])
def test_an_index_that_is_none(text, tmp_path):
    path = tmp_path / 'w.safetensors.index.json'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CheckpointError, match=r'is no index of weights in several files: it has no weight_map'):
        read_checkpoint(path)
    path.write_bytes(b' ' * (2**24 + 1))
    with pytest.raises(CheckpointError, match='16777216 are allowed'):
        read_checkpoint(path)


def test_shards_that_are_missing_or_of_another_model(tmp_path):
    save_file(dict(a=torch.ones(1)), tmp_path / 'one.safetensors')
    with pytest.raises(CheckpointError, match=r'index\.json: two\.safetensors is not beside it'):
        read_checkpoint(index(tmp_path, dict(a='one.safetensors', b='two.safetensors')))
    for shards in (dict(b='one.safetensors'), dict(a='one.safetensors', b='one.safetensors')):
        with pytest.raises(CheckpointError, match=r'one\.safetensors holds other weights than it says'):
            read_checkpoint(index(tmp_path, shards))


def test_the_hash_of_an_index_is_of_its_files_too(tmp_path):
    save_file(dict(a=torch.ones(1)), tmp_path / 'one.safetensors')
    path = index(tmp_path, dict(a='one.safetensors'))
    known = digest(path)
    assert read_checkpoint(f'{path}#sha256={known}')
    save_file(dict(a=torch.zeros(1)), tmp_path / 'one.safetensors')
    with pytest.raises(CheckpointError, match=f'has the SHA-256 {digest(path)}, expected {known}'):
        read_checkpoint(path, sha256=known)


def test_thousands_of_shards_are_missed_at_once(tmp_path):
    """Each is looked for once, not once for each weight."""
    path = index(tmp_path, {f'{i}': f'{i % 10_000}.bin' for i in range(300_000)})
    with pytest.raises(CheckpointError, match=r'0\.bin is not beside it'):
        read_checkpoint(path)


def test_a_broken_or_hostile_shard_is_named(tmp_path):
    torch.save(dict(a=Calls(os.mkdir, str(tmp_path / 'run'))), tmp_path / 'one.bin')
    path = index(tmp_path, dict(a='one.bin'))
    with pytest.raises(CheckpointError, match=r'one\.bin holds an object of posix\.mkdir'):
        read_checkpoint(path)
    (tmp_path / 'one.bin').write_bytes(b'PK')
    with pytest.raises(CheckpointError, match=r'one\.bin is truncated'):
        read_checkpoint(path)
    assert not (tmp_path / 'run').exists()
