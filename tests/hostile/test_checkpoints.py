"""Broken and malicious checkpoints, on every way into the program: refused, and nothing is run."""
import datetime
import functools
import os
import pathlib
import pickle
import subprocess

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.config.lazy import LazyObject
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmengine.runner.checkpoint import load_from_local

from mmvision_mamba import MambaVision
from mmvision_mamba.checkpoints import mmengine_loader
from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.errors import CheckpointError

from ..helpers.calls import Calls
from ..helpers.small_models import SMALL


@pytest.fixture(autouse=True)
def enforced():
    """As in every process of this package's runner, commands and inferencer."""
    mmengine_loader.enforce()


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
    'method of a path': lambda flag: Calls(getattr, pathlib.Path(flag), 'touch'),
    'lazy object of a config': lambda flag: Calls(ConfigDict, dict(a=Calls(LazyObject, 'antigravity'))),
    'config that is a path': lambda flag: Calls(ConfigDict, pathlib.Path(flag)),
    'date of month 40': lambda flag: Calls(datetime.datetime, b'\x07\xe8\x28\x01\0\0\0\0\0\0'),
    'time of hour 99': lambda flag: Calls(datetime.time, b'\x63\0\0\0\0\0'),
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
                other_sources=lambda: mmengine_loader.without_code(load_from_local)(str(path), map_location='cpu'),
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
