"""The lines that docs/use_in_other_configs.md shows, run as they stand there."""
import importlib
import math
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope

from mmvision_mamba import MambaVision
from mmvision_mamba.backbones.family import FAMILY

from ..helpers.neighbours import build, detection_batch, segmentation_batch
from ..helpers.published import HUB

PAGE = (Path(__file__).parents[2] / 'docs/use_in_other_configs.md').read_text()
LINES = re.findall(r'```python\n(.*?)```', PAGE, re.S)


@pytest.mark.parametrize(('scope', 'lines'), list(zip(('mmdet', 'mmseg'), LINES)), ids=['mmdet', 'mmseg'])
def test_the_lines(scope, lines, tmp_path):
    if scope == 'mmseg':  # the checkout that they speak of: what is installed
        toolbox = tmp_path / 'mmsegmentation'
        toolbox.symlink_to(Path(importlib.import_module(scope).__file__).parent / '.mim')
    path = tmp_path / 'my_config.py'
    path.write_text(lines)
    cfg = Config.fromfile(path)
    assert cfg.model.backbone.init_cfg.checkpoint.startswith(HUB)
    cfg.model.backbone.init_cfg = None  # no download
    if scope == 'mmseg':
        cfg.model.data_preprocessor.size = (64, 64)
    model = build(cfg)
    assert type(model.backbone) is MambaVision
    with DefaultScope.overwrite_default_scope(scope):
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        losses = model.train_step(detection_batch(cfg, 80) if scope == 'mmdet' else segmentation_batch(150), wrapper)
    assert all(math.isfinite(float(loss)) for loss in losses.values())
    norm = model.backbone.levels[2].blocks[0].norm1.weight
    group, = [g for g in wrapper.optimizer.param_groups if any(p is norm for p in g['params'])]
    assert group['weight_decay'] == 0 and type(wrapper.optimizer) is torch.optim.AdamW


def test_a_config_of_this_project_is_a_base_by_name(tmp_path):
    path = tmp_path / 'my_config.py'
    path.write_text(LINES[2])
    assert Config.fromfile(path).model.backbone.type in ('MambaVision', 'MM_mamba_vision')


def test_there_are_no_other_lines():  # mmpretrain's are tried in test_mmpretrain.py
    assert len(LINES) == 4 and all(len(lines.strip().splitlines()) <= 13 for lines in LINES)
    assert "'mmpretrain::" in LINES[3]


@pytest.mark.parametrize('arch', FAMILY)
def test_channels(arch):
    channels, checkpoint = re.search(rf'\| `{arch}` \| ([\d, ]+) \| `(\S+)` \|', PAGE).groups()
    with torch.device('meta'):
        assert MambaVision(arch).num_features == [int(n) for n in channels.split(', ')]
    readme = (Path(__file__).parents[2] / 'README.md').read_text()
    assert checkpoint.split('/')[0] in readme
