"""The published numbers: state-dict keys and float32 features, see tests/data/golden/README.md."""
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from mmvision_mamba import MambaVision, MM_mamba_vision
from mmvision_mamba.backbones import FAMILY
from mmvision_mamba.backbones.padding_norm import PaddingNorm

from ..data.golden.weights import fill, image

GOLDEN = Path(__file__).parent.parent / 'data' / 'golden'
VARIANTS = dict(t='tiny', t2='tiny2', s='small', b='base', l='large', l2='large2', l3='large3')


@pytest.mark.parametrize('path', sorted(GOLDEN.glob('keys_*.json')), ids=lambda p: p.stem)
def test_keys_are_the_published_ones(path):
    published = {k: tuple(shape) for k, shape in json.loads(path.read_text()).items()}
    with torch.device('meta'):
        model = MambaVision(VARIANTS[path.stem.removeprefix('keys_')])
    assert all(p.is_meta for p in model.parameters())
    own = {k: tuple(v.shape) for k, v in model.state_dict().items() if not k.startswith('outnorm')}
    assert own == {k: v for k, v in published.items() if not k.startswith(('norm.', 'head.'))}


FEATURES = sorted(GOLDEN.glob('features_*.npz'))
LIGHT = [p for p in FEATURES if p.stem in ('features_t_win14-7_1x128x160', 'features_b_win16-8_1x128x128')]


@pytest.mark.parametrize(('path', 'reference_name'), [(p, False) for p in FEATURES] + [(p, True) for p in LIGHT],
                         ids=lambda v: v.stem if isinstance(v, Path) else 'MM_mamba_vision' if v else 'MambaVision')
def test_features_are_the_published_ones(path, reference_name):
    variant, w3, w4, *size = re.fullmatch(r'features_(\w+?)_win(\d+)-(\d+)_(\d+)x(\d+)x(\d+)', path.stem).groups()
    windows, arch = (int(w3), int(w4)), FAMILY[VARIANTS[variant]]
    if reference_name:
        keys = ('dim', 'in_dim', 'depths', 'num_heads')
        model = MM_mamba_vision(**{k: arch[k] for k in keys}, mlp_ratio=4, window_size=(8, 8, *windows),
                                layer_scale=arch.get('layer_scale'))
    else:
        model = MambaVision(VARIANTS[variant], window_size=windows, window_padding='zeros')
    model = fill(model).eval()
    for module in model.modules():
        if isinstance(module, PaddingNorm):
            module.train()  # its gradient in training; its outputs are the same
    golden = np.load(path)
    x = torch.from_numpy(image(*map(int, size))).requires_grad_('loss' in golden)
    features = model(x)
    for i, feature in enumerate(features):
        _, c, h, w = feature.shape
        assert feature.shape == tuple(golden[f'stage{i}_shape'])
        samples = feature[:, ::max(1, c // 8)][:, :, ::max(1, h // 6), ::max(1, w // 6)].detach().numpy()
        np.testing.assert_allclose(samples, golden[f'stage{i}_samples'], atol=1e-4, rtol=0)
        stats = [feature.mean().item(), feature.std().item(), feature.abs().max().item()]
        np.testing.assert_allclose(stats, golden[f'stage{i}_mean_std_absmax'], atol=1e-3)
    if 'loss' in golden:
        loss = sum((f * torch.cos(torch.arange(f.numel(), dtype=f.dtype)).view_as(f)).mean() for f in features)
        loss.backward()
        assert loss.item() == pytest.approx(float(golden['loss']), abs=1e-4)
        assert x.grad.norm().item() == pytest.approx(float(golden['input_grad_norm']), rel=1e-3)
        parameters = dict(model.named_parameters())
        norms = [parameters[str(name)].grad.norm().item() for name in golden['grad_names']]
        np.testing.assert_allclose(norms, golden['grad_norms'], rtol=1e-3)
