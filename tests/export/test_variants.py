"""The published variants whole: right, and small enough."""
import pytest
import torch

from mmvision_mamba import MambaVision
from mmvision_mamba.backbones.family import FAMILY, PADDINGS
from mmvision_mamba.export import formats, tensorrt, verify
from mmvision_mamba.export.onnx_file import operators
from mmvision_mamba.export.parts import build_exportable
from mmvision_mamba.runtime import loaders

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

SIZE = 272, 176  # with either padding every variant's windows are padded: maps of 17 × 11 and 9 × 6
FREE = {'static': (), 'batch': (0,), 'any size': (0, 2, 3)}
OTHERS = {'static': [], 'batch': [(3, 3, *SIZE)], 'any size': [(2, 3, 33, 300)]}


def check(arch, padding, size, free, path, windows='arch'):
    """Export a backbone, compare it with PyTorch; returns how often each operator is in it."""
    backbone = MambaVision(arch, window_padding=padding, window_size=windows).eval()
    weights = sum(p.numel() * 4 for p in backbone.parameters())
    inputs = [torch.randn(shape) for shape in [(1, 3, *size), *OTHERS[free]]]
    wanted = [verify.reference(backbone, 'backbone', images) for images in inputs]
    what = build_exportable(backbone, 'backbone')
    del backbone  # the largest has 3 GB of weights
    path.parent.mkdir()
    formats.write(what, path, 'onnx', inputs[:1], FREE[free])
    del what
    on_disk = sum(file.stat().st_size for file in path.parent.iterdir())
    assert on_disk < 1.1 * weights
    run = loaders.load(path, 'onnx')
    worst = max(verify.difference(a, b) for images, features in zip(inputs, wanted)
                for a, b in zip(features, run(images.numpy()), strict=True))
    count = operators(path)
    print(f'{arch}, {padding}, {free}: {sum(count.values()):,} nodes, {on_disk / weights:.3f} of the weights, '
          f'difference {worst:.1e}')
    assert worst <= verify.RELATIVE['float32']
    return count


@pytest.mark.parametrize('free', FREE)
@pytest.mark.parametrize('padding', PADDINGS)
@pytest.mark.parametrize('arch', FAMILY)
def test_variant(arch, padding, free, tmp_path):
    assert not tensorrt.unsupported(check(arch, padding, SIZE, free, tmp_path / 'model' / 'model.onnx'))


@pytest.mark.parametrize(('windows', 'free'), [
    ('arch', 'static'), ('arch', 'any size'), ((64, 32), 'static')])  # the last: one segmentor's, padded most
@pytest.mark.parametrize('padding', PADDINGS)
def test_tiny_at_512(padding, windows, free, tmp_path):
    count = check('tiny', padding, (512, 512), free, tmp_path / 'model' / 'model.onnx', windows)
    assert sum(count.values()) < 6000
