"""mmpretrain's classifier on the backbone: a step of training and a prediction, in a process that imports it first."""
import re

import pytest
import torch

from ..helpers import ROOT
from ..helpers.new_process import call

pytest.importorskip('mmpretrain', reason='needs mmpretrain: pip install mmpretrain model-index')


def trained(config: str, imports: str) -> tuple[str, list[int], bool]:
    """The backbone's module, the shape of the scores, and whether all of the backbone got a gradient."""
    exec(imports)
    import mmpretrain  # noqa: F401
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import MODELS
    from mmpretrain.structures import DataSample
    cfg = Config.fromstring(config, '.py')
    cfg.model.backbone.update(arch=dict(dim=8, in_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 4)), init_cfg=None,
                              drop_path_rate=0)
    cfg.model.head.in_channels = 64
    init_default_scope('mmpretrain')
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    samples = [DataSample().set_gt_label(i) for i in range(3)]
    data = model.data_preprocessor(dict(inputs=[torch.randint(0, 255, (3, 56, 72), dtype=torch.uint8)] * 3,
                                        data_samples=samples), training=True)
    model(**data, mode='loss')['loss'].backward()
    whole = all(p.grad is not None for name, p in model.backbone.named_parameters() if 'outnorm' not in name)
    scores = model.eval()(**data, mode='predict')[0].pred_score
    return type(model.backbone).__module__, list(scores.shape), whole


@pytest.mark.parametrize('imports', ['import mmvision_mamba', 'import mmengine, mmvision_mamba'])
def test_the_documented_config_trains_and_predicts(imports):
    page = (ROOT / 'docs/use_in_other_configs.md').read_text()
    config, = re.findall(r"```python\n(_base_ = 'mmpretrain::.*?)```", page, re.DOTALL)
    assert call(trained, config, imports) == ('mmvision_mamba.backbones.mambavision', [1000], True)
