"""Files of each format: what can not be in them."""
import os

import pytest
import torch

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.export import formats, tensorrt
from mmvision_mamba.export.parts import Exportable


def test_operators_for_tensorrt():
    assert tensorrt.unsupported(['Conv', 'Softplus', 'ConvInteger', 'Add']) == ['ConvInteger']


def test_an_operator_that_onnx_lacks(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.special.zeta(x, x),
    what = Exportable('backbone', Odd(), ('images',), ('out',))
    with pytest.raises(ConfigError, match='special_zeta'):
        formats.write(what, tmp_path / 'm.onnx', 'onnx', [torch.ones(1, 3, 32, 32)])


def test_an_operator_that_is_not_standard(tmp_path):
    """VFNet's, for one: mmcv would write it in a domain of its own, which no runtime knows."""
    from mmcv.ops import DeformConv2dPack
    what = Exportable('backbone', torch.nn.Sequential(DeformConv2dPack(3, 4, 3, padding=1)), ('images',), ('out',))
    with pytest.raises(ConfigError, match='not standard: mmcv::MMCVDeformConv2d'):
        formats.write(what, tmp_path / 'm.onnx', 'onnx', [torch.ones(1, 3, 32, 32)])


def test_a_package_of_aot_inductor_without_a_compiler(tmp_path):
    from torch._inductor import config

    what = Exportable('backbone', torch.nn.Sigmoid(), ('images',), ('out',))
    with config.patch('cpp.cxx', (None, 'no-such-compiler')), pytest.raises(ConfigError, match='install one'):
        formats.write(what, tmp_path / 'm.pt2', 'aot-inductor', [torch.ones(1, 3, 32, 32)])


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs a device that is always full')
@pytest.mark.parametrize('format', ['torchscript', 'torch-export'])
def test_a_full_disk_is_an_error(tmp_path, format):
    """torch's own writers would end the process."""
    (tmp_path / 'm.pt').symlink_to('/dev/full')
    what = Exportable('backbone', torch.nn.Sigmoid(), ('images',), ('out',))
    with pytest.raises(OSError, match='No space left'):
        formats.write(what, tmp_path / 'm.pt', format, [torch.ones(1, 3, 32, 32)])
