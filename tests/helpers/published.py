"""The published COCO and ADE20K recipes, written down a second time, and ways to look at the configs."""
from functools import cache
from typing import NamedTuple

import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from . import ROOT

CONFIGS = ROOT / 'configs'
HUB = 'https://huggingface.co/nvidia'


class Recipe(NamedTuple):
    arch: str
    dim: int
    window_size: tuple
    checkpoint: str
    lr: float
    params: float  # millions, of the whole model as built from these settings
    result: str  # a published number the file's head states
    window_padding: str = 'zeros'
    weight_decay: float = 0.05
    batch_size: int = 2
    crop: int = 512
    optim_wrapper: str = 'AmpOptimWrapper'
    val_interval: int = 10000  # of segmentors


TINY = f'{HUB}/MambaVision-T-1K/resolve/main/mambavision_tiny_1k.pth.tar'
SMALL = f'{HUB}/MambaVision-S-1K/resolve/main/mambavision_small_1k.pth.tar'
BASE = f'{HUB}/MambaVision-B-1K/resolve/main/mambavision_base_1k.pth.tar'
LARGE3 = f'{HUB}/MambaVision-L3-512-21K/resolve/main/mambavision_L3_21k_740m_512.pth.tar'
DETECTORS = {
    'cascade_mask_rcnn_mambavision_t_coco': Recipe('tiny', 80, (112, 56), TINY, 1e-4, 89.20, 'box AP 51.1'),
    'cascade_mask_rcnn_mambavision_t_fit_coco': Recipe(
        'tiny', 80, (112, 56), TINY, 1e-4, 89.20, 'No published result', window_padding='fit'),
    'cascade_mask_rcnn_mambavision_s_coco': Recipe('small', 96, (112, 56), SMALL, 1e-4, 107.48, 'box AP 52.3'),
    'cascade_mask_rcnn_mambavision_b_coco': Recipe('base', 128, (112, 56), BASE, 2e-4, 154.89, 'box AP 52.8'),
}
SEGMENTORS = {
    'upernet_mambavision_t_ade20k': Recipe(
        'tiny', 80, (64, 32), TINY, 5e-5, 62.52, 'mIoU 46.0', weight_decay=0.01, batch_size=1),
    'upernet_mambavision_t_fit_ade20k': Recipe(
        'tiny', 80, (64, 32), TINY, 5e-5, 62.52, 'No published result', window_padding='fit', weight_decay=0.01,
        batch_size=1),
    'upernet_mambavision_s_ade20k': Recipe(
        'small', 96, (160, 56), SMALL, 6e-5, 81.79, 'mIoU 48.2', weight_decay=0.01, batch_size=2),
    'upernet_mambavision_b_ade20k': Recipe(
        'base', 128, (64, 32), BASE, 5e-5, 131.20, 'mIoU 49.1', weight_decay=0.01, batch_size=1),
    'upernet_mambavision_l3_ade20k-640x640': Recipe(
        'large3', 256, (64, 32), LARGE3, 8e-5, 780.51, 'mIoU 53.2', batch_size=1, crop=640,
        optim_wrapper='OptimWrapper', val_interval=5000),
}
RECIPES = DETECTORS | SEGMENTORS
each = pytest.mark.parametrize('name', RECIPES)
each_detector = pytest.mark.parametrize('name', DETECTORS)
each_segmentor = pytest.mark.parametrize('name', SEGMENTORS)


def read(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


load = cache(read)  # for tests that only look


@cache
def build(name):
    """The whole model without its weights."""
    cfg = load(name)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device('meta'):
        return MODELS.build(cfg.model)


def strings(node):
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        return [text for child in node for text in strings(child)]
    return [node] if isinstance(node, str) else []


def steps(pipeline, kind):
    """All transforms of a type, in order, wherever they are nested."""
    if isinstance(pipeline, (list, tuple)):
        return [step for child in pipeline for step in steps(child, kind)]
    found = [pipeline] if pipeline['type'] == kind else []
    return found + steps(pipeline.get('transforms', []), kind)


def values(step):
    return {key: value for key, value in step.items() if key != 'type'}
