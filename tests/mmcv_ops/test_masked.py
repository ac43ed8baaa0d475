import pytest
import torch
import torch.nn.functional as F

pytestmark = pytest.mark.usefixtures('our_operators')


@pytest.mark.parametrize('kernel, padding', [((1, 1), 0), ((3, 3), 1), ((3, 5), (1, 2))])
def test_masked_convolution_is_a_convolution_where_the_mask_is_positive(kernel, padding):
    from mmcv.ops import masked_conv2d
    torch.manual_seed(0)
    x, weight, bias = torch.randn(1, 3, 6, 5), torch.randn(4, 3, *kernel), torch.randn(4)
    for mask in (torch.randn(1, 6, 5), torch.ones(1, 6, 5), torch.zeros(1, 6, 5)):
        expected = F.conv2d(x, weight, bias, padding=padding) * (mask > 0)[:, None]
        torch.testing.assert_close(masked_conv2d(x, mask, weight, bias, padding), expected)
