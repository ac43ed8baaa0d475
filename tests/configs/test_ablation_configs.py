"""The ablations' configs: the baseline and, each, one change."""
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from ..helpers import ROOT

CONFIGS = sorted((ROOT / 'configs' / 'ablations').glob('*.py'))


def test_each_config_is_the_baseline_but_for_what_its_name_says():
    base = Config.fromfile(CONFIGS[0])
    found = {}
    for path in CONFIGS[1:]:
        cfg = Config.fromfile(path)
        with DefaultScope.overwrite_default_scope('mmengine'), torch.device('meta'):
            backbone = MODELS.build(cfg.model).backbone
        found[path.stem] = (
            *(''.join('S' if hasattr(b.mixer, 'qkv') else 'M' for b in level.blocks) for level in backbone.levels[2:]),
            *(level.window_size for level in backbone.levels[2:]))
        changed = {k: v for k, v in cfg.model.backbone.items() if base.model.backbone.get(k) != v}
        assert changed
        cfg.model.backbone = base.model.backbone
        assert cfg.to_dict() == base.to_dict(), path.stem
    usual = ('MMMMSSSS', 'MS', 4, 2)
    assert found == dict(
        mixer_causal_conv=usual, mixer_gate=usual, mixer_linear_gate=usual, mixer_mamba=usual, mixer_no_branch=usual,
        pattern_alternate=('MSMSMSMS', 'MS', 4, 2), pattern_alternate_attention=('SMSMSMSM', 'SM', 4, 2),
        pattern_attention_first=('SSSSMMMM', 'SM', 4, 2),
        pattern_last_quarter=('MMMMMMSS', 'MM', 4, 2), pattern_random=found['pattern_random'],
        ratio_attention_only=('SSSSSSSS', 'SS', 4, 2), ratio_mixers_only=('MMMMMMMM', 'MM', 4, 2),
        windows_2_1=(*usual[:2], 2, 1))
    assert found['pattern_random'][0].count('M') == 4 and found['pattern_random'][0] != usual[0]
