"""Sharded training against DDP's, in two processes."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip('mmengine')

from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.engine import sharding
from mmvision_mamba.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sharding')
    environment = {**os.environ, 'PYTHONPATH': f'{ROOT}{os.pathsep}{os.environ.get("PYTHONPATH", "")}',
                   'CUDA_VISIBLE_DEVICES': '', 'GLOO_SOCKET_IFNAME': 'lo', 'WORLD_SIZE': '2'}
    processes = [subprocess.Popen(
        [sys.executable, Path(__file__).with_name('sharded_training.py'), folder, str(rank)],
        env={**environment, 'RANK': str(rank), 'LOCAL_RANK': str(rank)}, stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL, text=True) for rank in range(2)]
    try:
        said = [process.communicate(timeout=250)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], '\n'.join(text[-3000:] for text in said)
    return folder


def last(folder):
    return read_checkpoint(folder / 'iter_4.pth')


def assert_close(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert type(other[name]) is torch.Tensor
        torch.testing.assert_close(other[name], value, rtol=1e-4, atol=2e-6, msg=lambda m, name=name: f'{name}: {m}')


@pytest.mark.parametrize('name', ['sharded', 'whole_then_sharded', 'sharded_then_whole', 'checkpointing'])
def test_trains_and_resumes_as_unsharded(runs, name):
    whole, other = last(runs / 'whole'), last(runs / name)
    assert_close(whole['state_dict'], other['state_dict'])
    assert whole['optimizer']['param_groups'] == other['optimizer']['param_groups']
    assert whole['optimizer']['state'].keys() == other['optimizer']['state'].keys()
    for number, values in whole['optimizer']['state'].items():
        assert_close(values, other['optimizer']['state'][number])


def test_the_weights_did_move(runs):
    first, final = (read_checkpoint(runs / 'sharded' / f'iter_{i}.pth')['state_dict'] for i in (2, 4))
    assert any(not torch.equal(first[name], final[name]) for name in first)


def test_each_process_holds_half(runs):
    for rank in range(2):
        local, every = map(int, (runs / f'parameters_{rank}').read_text().split())
        assert local < 0.6 * every


def test_losses_and_gradient_norms_are_logged_alike(runs):
    def scalars(name):
        file = next((runs / name).glob('*/vis_data/scalars.json'))
        return [json.loads(line) for line in file.read_text().splitlines()]
    for one, other in zip(scalars('whole'), scalars('sharded')):
        assert one['loss'] == pytest.approx(other['loss'], rel=1e-4)
        assert one['grad_norm'] == pytest.approx(other['grad_norm'], rel=1e-3)


@pytest.mark.parametrize('options, words', [
    (dict(reshard=True), "no option 'reshard'"), (dict(param_dtype='int8'), 'param_dtype must be one of'),
    (dict(reduce_dtype='half'), 'reduce_dtype')])
def test_wrong_options_are_named(options, words):
    with pytest.raises(ConfigError, match=words):
        sharding.fully_shard_model(nn.Linear(2, 2), 'cpu', **options)


def test_other_wrappers_are_left_alone():
    assert sharding.sharding_options(None) is None
    assert sharding.sharding_options(dict(type='MMDistributedDataParallel')) is None
    assert sharding.sharding_options(dict(type='FullyShard', cpu_offload=True)) == dict(cpu_offload=True)
