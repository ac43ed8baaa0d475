"""CARAFE against loops over the paper's sum."""
import pytest
import torch

pytestmark = pytest.mark.usefixtures('our_operators')


def by_definition(features, masks, kernel, groups, scale):
    batch, channels, height, width = features.shape
    output = features.new_zeros(batch, channels, height * scale, width * scale)
    for n, c, row, column in torch.cartesian_prod(*map(torch.arange, output.shape)).tolist():
        group = c // (channels // groups)
        for i in range(kernel):
            for j in range(kernel):
                y, x = row // scale + i - kernel // 2, column // scale + j - kernel // 2
                if 0 <= y < height and 0 <= x < width:
                    mask = masks[n, (group * kernel + i) * kernel + j, row, column]
                    output[n, c, row, column] += mask * features[n, c, y, x]
    return output


@pytest.mark.parametrize('kernel, groups, scale', [(1, 1, 1), (3, 1, 2), (5, 2, 3), (5, 4, 2)])
def test_carafe_is_the_sum_of_the_paper(kernel, groups, scale):
    from mmcv.ops import carafe, carafe_naive
    torch.manual_seed(0)
    features = torch.randn(2, 4, 3, 5).double()
    masks = torch.rand(2, groups * kernel**2, 3 * scale, 5 * scale).double()
    expected = by_definition(features, masks, kernel, groups, scale)
    for function in (carafe, carafe_naive):
        torch.testing.assert_close(function(features, masks, kernel, groups, scale), expected)


def test_the_upsampler_trains():
    from mmcv.ops import CARAFEPack
    pack = CARAFEPack(channels=8, scale_factor=2)
    features = torch.randn(1, 8, 5, 7, requires_grad=True)
    output = pack(features)
    assert output.shape == (1, 8, 10, 14)
    output.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in (features, *pack.parameters()))
