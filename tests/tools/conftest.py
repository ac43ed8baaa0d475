"""A small data set, small configs of both kinds, and the tools run as a user does."""
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from mmengine.utils import ManagerMixin

ROOT = Path(__file__).resolve().parents[2]

ARCH = "dict(_delete_=True, dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))"
BACKBONE = f"dict(arch={ARCH}, window_size=(4, 2))"
COMMON = '''
train_dataloader = dict(batch_size=2)
train_cfg = dict(max_iters=4, val_interval=2)
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=2)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
custom_imports = dict(_delete_=True, imports=[], allow_failed_imports=False)
'''
DETECTOR = f'''
_base_ = '{ROOT}/configs/cascade_mask_rcnn_mambavision_t_shapes.py'
model = dict(
    backbone={BACKBONE}, neck=dict(in_channels=[16, 32, 64, 128]),
    test_cfg=dict(rcnn=dict(score_thr=0.)))  # hardly trained: without this it may find nothing, and has no AP
''' + COMMON
SEGMENTOR = f'''
_base_ = '{ROOT}/configs/upernet_mambavision_t_shapes.py'
model = dict(backbone={BACKBONE}, decode_head=dict(in_channels=[16, 32, 64, 128]), auxiliary_head=dict(in_channels=64))
''' + COMMON


@pytest.fixture(scope='session')
def shapes(tmp_path_factory):
    from mmvision_mamba.datasets import make_shapes
    root = tmp_path_factory.mktemp('data') / 'shapes'
    make_shapes(root, train=6, val=3, seed=0, size=(64, 64))
    return root


@pytest.fixture
def configs(tmp_path):
    """Paths of a small detector's and a small segmentor's config."""
    paths = SimpleNamespace(detector=tmp_path / 'detector.py', segmentor=tmp_path / 'segmentor.py')
    paths.detector.write_text(DETECTOR)
    paths.segmentor.write_text(SEGMENTOR)
    return paths


@pytest.fixture
def segmentor(configs, tmp_path):
    """A small segmentor's config and checkpoint; its classes differ clearly."""
    import torch
    from mmengine.registry import MODELS

    from mmvision_mamba.engine import launch
    cfg = launch.read_config(configs.segmentor)
    model = MODELS.build(cfg.model)
    torch.nn.init.normal_(model.decode_head.conv_seg.weight)
    path = tmp_path / 'a checkpoint.pth'
    torch.save(dict(state_dict=model.state_dict(), meta={}), path)
    return configs.segmentor, path


def _forget(cls):
    """Start as a new process does: without the scopes, loggers and visualisers of an earlier run."""
    cls._instance_dict.clear()
    for subclass in cls.__subclasses__():
        _forget(subclass)


@pytest.fixture
def tool(monkeypatch, capfd, tmp_path):
    """tool('train', *arguments) runs tools/train.py's main; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        _forget(ManagerMixin)
        path = ROOT / 'tools' / f'{name}.py'
        monkeypatch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
        capfd.readouterr()
        code = 0
        try:
            runpy.run_path(str(path), run_name='__main__')
        except SystemExit as exit_:
            code = exit_.code or 0
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err, errors=[
            line for line in err.splitlines() if line.startswith('error: ')])
    return run


@pytest.fixture
def shell(tmp_path):
    """shell(*command) runs a command in a process of its own, in another folder than the project's."""
    def run(*command, **options):
        return subprocess.run([str(c) for c in command], cwd=tmp_path, capture_output=True, text=True, **options)
    return run
