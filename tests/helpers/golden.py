"""What the published model computes: the models of tests/data/golden, and how far their features are from it."""
import re
from pathlib import Path

import numpy as np
import torch

from mmvision_mamba import MambaVision, MM_mamba_vision
from mmvision_mamba.backbones import FAMILY
from mmvision_mamba.backbones.padding_norm import PaddingNorm

from ..data.golden.weights import fill, image
from . import ROOT

GOLDEN = ROOT / 'tests' / 'data' / 'golden'
VARIANTS = dict(t='tiny', t2='tiny2', s='small', b='base', l='large', l2='large2', l3='large3')
FEATURES = sorted(GOLDEN.glob('features_*.npz'))
# Largest absolute difference of features, and of their mean, deviation and largest; largest relative of gradients.
TOLERANCES = dict(features=1e-4, statistics=1e-3, loss=1e-4, gradients=1e-3)


def golden_model(path: Path, reference_name: bool = False) -> torch.nn.Module:
    """The model of a file of FEATURES, in eval mode; `reference_name`: built as the published code names arguments."""
    variant, w3, w4 = re.match(r'features_(\w+?)_win(\d+)-(\d+)_', path.stem).groups()
    windows, arch = (int(w3), int(w4)), FAMILY[VARIANTS[variant]]
    if reference_name:
        model = MM_mamba_vision(**{k: arch[k] for k in ('dim', 'in_dim', 'depths', 'num_heads')}, mlp_ratio=4,
                                window_size=(8, 8, *windows), layer_scale=arch.get('layer_scale'))
    else:
        model = MambaVision(VARIANTS[variant], window_size=windows, window_padding='zeros')
    model = fill(model).eval()
    for module in model.modules():
        if isinstance(module, PaddingNorm):
            module.train()  # its gradient in training; its outputs are the same
    return model


def golden_errors(path: Path, model: torch.nn.Module, device: str = 'cpu') -> dict[str, float]:
    """The errors that TOLERANCES bounds, of `golden_model(path)` on `device`."""
    golden = np.load(path)
    size = map(int, path.stem.rpartition('_')[2].split('x'))
    x = torch.from_numpy(image(*size)).to(device).requires_grad_('loss' in golden)
    features = model.to(device)(x)
    errors = dict(features=0., statistics=0.)

    def note(kind, found, expected, relative=False):
        distance = np.abs(np.asarray(found) - expected) / (np.abs(expected) if relative else 1)
        errors[kind] = float(np.maximum(errors.get(kind, 0.), distance.max()))  # NaN stays NaN
    for i, feature in enumerate(features):
        _, c, h, w = feature.shape
        assert feature.shape == tuple(golden[f'stage{i}_shape'])
        samples = feature[:, ::max(1, c // 8)][:, :, ::max(1, h // 6), ::max(1, w // 6)]
        note('features', samples.detach().cpu().numpy(), golden[f'stage{i}_samples'])
        note('statistics', [feature.mean().item(), feature.std().item(), feature.abs().max().item()],
             golden[f'stage{i}_mean_std_absmax'])
    if 'loss' in golden:
        loss = sum((f * torch.cos(torch.arange(f.numel(), dtype=f.dtype)).view_as(f).to(device)).mean()
                   for f in features)
        loss.backward()
        note('loss', loss.item(), float(golden['loss']))
        note('gradients', x.grad.norm().item(), float(golden['input_grad_norm']), relative=True)
        parameters = dict(model.named_parameters())
        note('gradients', [parameters[str(name)].grad.norm().item() for name in golden['grad_names']],
             golden['grad_norms'], relative=True)
    return errors
