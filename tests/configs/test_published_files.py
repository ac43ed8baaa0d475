"""The files of the COCO and ADE20K configs."""
import re

import pytest
from mmengine.config import Config
from mmengine.registry import MODELS

from ..helpers.published import CONFIGS, DETECTORS, RECIPES, each, read, strings


def test_no_published_config_is_left_out():
    kinds = ('cascade_mask_rcnn_*_coco*.py', 'upernet_*_ade20k*.py')
    named = {path.stem for kind in kinds for path in CONFIGS.glob(kind)}
    assert {name for name in named if not re.search('_(strong|fsdp)_', name)} == set(RECIPES)


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*.py')), ids=lambda path: path.stem)
def test_every_leaf_resolves(path):
    cfg = Config.fromfile(path)
    assert cfg.default_scope in ('mmdet', 'mmseg', 'mmengine')
    assert cfg.custom_imports.imports == ['mmvision_mamba']
    assert cfg.model.backbone.type == 'MambaVision'
    assert MODELS.get('MambaVision') is not None
    again = Config.fromstring(cfg.pretty_text, '.py')
    assert again.to_dict() == cfg.to_dict()


@each
def test_head_states_what_the_config_aims_at(name):
    lines = (CONFIGS / f'{name}.py').read_text().splitlines()
    head = lines[:next(i for i, line in enumerate(lines) if not line.startswith('#'))]
    assert RECIPES[name].result in '\n'.join(head)
    assert len(lines) < 40


@each
def test_one_variable_moves_all_data(name, monkeypatch):
    variable, default = ('COCO_ROOT', 'data/coco') if name in DETECTORS else ('ADE20K_ROOT', 'data/ade')
    monkeypatch.delenv(variable, raising=False)
    at_default = strings(read(name).to_dict())
    monkeypatch.setenv(variable, '/mnt/all data/set')
    moved = strings(read(name).to_dict())
    assert moved == [re.sub(f'^{default}(?=/|$)', '/mnt/all data/set', text) for text in at_default]
    assert sum(text.startswith('/mnt/all data/set') for text in moved) >= 4
    assert not any(default in text for text in moved)
