"""A small detector and a small segmentor with random weights, and their checkpoints."""
from types import SimpleNamespace

import pytest

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope

from mmvision_mamba import Inferencer

from ..tools.conftest import DETECTOR, SEGMENTOR, tool  # noqa: F401  a fixture

CLASSES = dict(detector=('ellipse', 'rectangle', 'triangle'),
               segmentor=('background', 'ellipse', 'rectangle', 'triangle'))


@pytest.fixture(scope='session')
def models(tmp_path_factory):
    """detector and segmentor, each with config, checkpoint (paths)."""
    folder, found = tmp_path_factory.mktemp('models'), {}
    for name, text in (('detector', DETECTOR), ('segmentor', SEGMENTOR)):
        config, checkpoint = folder / f'{name}.py', folder / f'{name}.pth'
        config.write_text(text)
        cfg = Config.fromfile(config)
        init_default_scope(cfg.default_scope)
        torch.manual_seed(0)
        torch.save({'state_dict': MODELS.build(cfg.model).state_dict(),
                    'meta': {'dataset_meta': {'classes': CLASSES[name]}}}, checkpoint)
        found[name] = SimpleNamespace(config=config, checkpoint=checkpoint)
    return SimpleNamespace(**found)


@pytest.fixture(scope='session')
def detector(models):
    return Inferencer(models.detector.config, models.detector.checkpoint, device='cpu', show_progress=False)


@pytest.fixture(scope='session')
def segmentor(models):
    return Inferencer(models.segmentor.config, models.segmentor.checkpoint, device='cpu', show_progress=False)
