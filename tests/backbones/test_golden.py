"""The published numbers: state-dict keys and float32 features, see tests/data/golden/README.md."""
import json
from pathlib import Path

import pytest
import torch

from mmvision_mamba import MambaVision

from ..helpers.golden import FEATURES, GOLDEN, TOLERANCES, VARIANTS, golden_errors, golden_model


@pytest.mark.parametrize('path', sorted(GOLDEN.glob('keys_*.json')), ids=lambda p: p.stem)
def test_keys_are_the_published_ones(path):
    published = {k: tuple(shape) for k, shape in json.loads(path.read_text()).items()}
    with torch.device('meta'):
        model = MambaVision(VARIANTS[path.stem.removeprefix('keys_')])
    assert all(p.is_meta for p in model.parameters())
    own = {k: tuple(v.shape) for k, v in model.state_dict().items() if not k.startswith('outnorm')}
    assert own == {k: v for k, v in published.items() if not k.startswith(('norm.', 'head.'))}


LIGHT = [p for p in FEATURES if p.stem in ('features_t_win14-7_1x128x160', 'features_b_win16-8_1x128x128')]


@pytest.mark.parametrize(('path', 'reference_name'), [(p, False) for p in FEATURES] + [(p, True) for p in LIGHT],
                         ids=lambda v: v.stem if isinstance(v, Path) else 'MM_mamba_vision' if v else 'MambaVision')
def test_features_are_the_published_ones(path, reference_name):
    errors = golden_errors(path, golden_model(path, reference_name))
    assert all(error <= TOLERANCES[kind] for kind, error in errors.items()), errors
