"""What the README shows works as it stands there."""
import re
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

README = (Path(__file__).parents[2] / 'README.md').read_text()


@pytest.mark.parametrize('base', ['faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py', 'solov2/solov2_r50_fpn_1x_coco.py'])
def test_the_backbone_in_a_config_of_mmdet(base, tmp_path):
    from mmdet.registry import MODELS
    from mmengine.registry import init_default_scope
    lines = re.search(r'## The backbone in any.*?```python\n(.*?)```', README, re.S)[1]
    path = tmp_path / 'config.py'
    path.write_text(f"_base_ = 'mmdet::{base}'\n{lines}")
    cfg = Config.fromfile(path)
    init_default_scope('mmdet')
    model = MODELS.build(cfg.model)
    assert type(model.backbone).__name__ == 'MambaVision'
    features = model.extract_feat(torch.randn(1, 3, 64, 64))
    assert [f.shape[-1] for f in features[:4]] == [16, 8, 4, 2]


def test_paths_and_options_exist():
    root = Path(__file__).parents[2]
    for path in re.findall(r'(?:tools|configs|docs|docker)/[\w./-]+\w', README):
        assert (root / path).exists(), path
    sources = ''.join(path.read_text() for path in root.glob('mmvision_mamba/commands/*.py'))
    own = re.sub(r'pip wheel\s[^`]*|torchrun .*? -m', '', README)  # other programs' options
    for option in set(re.findall(r'(?<![\w-])--[a-z][a-z-]+', own)):
        assert f"'{option}'" in sources, option
