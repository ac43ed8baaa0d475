"""The published variants whole, at 512 × 512: right, and small enough."""
import gc

import numpy as np
import pytest
import torch

from mmvision_mamba import MambaVision
from mmvision_mamba.backbones.family import FAMILY
from mmvision_mamba.export import formats, tensorrt, verify
from mmvision_mamba.export.onnx_file import operators
from mmvision_mamba.export.parts import build_exportable

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


# One segmentor's windows, which at this size are padded most.
@pytest.mark.parametrize(('arch', 'padding', 'windows', 'free'), [
    *((arch, padding, 'arch', ()) for arch in FAMILY for padding in ('fit', 'zeros')),
    ('tiny', 'zeros', (64, 32), ()), ('tiny', 'fit', 'arch', (0, 2, 3)), ('tiny', 'zeros', 'arch', (0, 2, 3))])
def test_variant(arch, padding, windows, free, tmp_path):
    backbone = MambaVision(arch, window_padding=padding, window_size=windows).eval()
    weights = sum(p.numel() * 4 for p in backbone.parameters())
    what = build_exportable(backbone, 'backbone')
    path = tmp_path / 'model' / 'model.onnx'
    path.parent.mkdir()
    images = torch.randn(1, 3, 512, 512)
    wanted = verify.reference(backbone, 'backbone', images)
    formats.write(what, path, 'onnx', [images], free)
    del what, backbone
    gc.collect()
    count = operators(path)
    print(f'{arch}, {padding}, {windows}, {free}: {sum(count.values())} nodes')
    if arch == 'tiny':
        assert sum(count.values()) < 6000
    assert sum(file.stat().st_size for file in path.parent.iterdir()) < 1.1 * weights
    assert not tensorrt.unsupported(count)
    found = formats.load(path, 'onnx')(images.numpy())
    assert max(map(verify.difference, wanted, found)) <= 1e-4
    if free:
        assert formats.load(path, 'onnx')(np.zeros((2, 3, 96, 333), np.float32))[0].shape == (2, 80, 24, 84)
