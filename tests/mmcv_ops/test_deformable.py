"""Deformable convolutions against loops over the paper's sum."""
import pytest
import torch

from ..helpers.bilinear import bilinear

pytestmark = pytest.mark.usefixtures('our_operators')

SETTINGS = [  # stride, padding, dilation, groups, deformable groups
    (1, 0, 1, 1, 1), ((2, 1), (1, 2), 1, 1, 1), (1, (2, 1), (1, 2), 2, 1), (2, 1, 1, 1, 2), ((1, 2), 1, (2, 1), 2, 4)]


def by_definition(x, offset, mask, weight, stride, padding, dilation, groups, deform_groups):
    (sh, sw), (ph, pw), (dh, dw) = ((s, s) if isinstance(s, int) else s for s in (stride, padding, dilation))
    outputs, of_group, kernel_height, kernel_width = weight.shape
    channels = x.shape[1]
    output = x.new_zeros(len(x), outputs, *offset.shape[2:])
    for n, o, row, column in torch.cartesian_prod(*map(torch.arange, output.shape)).tolist():
        for c in range(of_group):
            channel = o // (outputs // groups) * of_group + c
            deform_group = channel // (channels // deform_groups)
            for i in range(kernel_height):
                for j in range(kernel_width):
                    tap = (deform_group * kernel_height + i) * kernel_width + j
                    down, right = offset[n, 2 * tap, row, column], offset[n, 2 * tap + 1, row, column]
                    value = bilinear(x[n, channel], row * sh - ph + i * dh + float(down),
                                     column * sw - pw + j * dw + float(right))
                    output[n, o, row, column] += weight[o, c, i, j] * mask[n, tap, row, column] * value
    return output


def drawn(stride, padding, dilation, groups, deform_groups):
    (sh, sw), (ph, pw), (dh, dw) = ((s, s) if isinstance(s, int) else s for s in (stride, padding, dilation))
    torch.manual_seed(0)
    x, weight = torch.randn(2, 4, 5, 6).double(), torch.randn(2, 4 // groups, 3, 2).double()
    size = (5 + 2 * ph - 2 * dh - 1) // sh + 1, (6 + 2 * pw - dw - 1) // sw + 1
    offset = torch.randn(2, deform_groups * 12, *size).double() * 2  # some of them beyond the map
    return x, offset, torch.rand(2, deform_groups * 6, *size).double(), weight


@pytest.mark.parametrize('settings', SETTINGS)
def test_version_1_is_the_sum_of_the_paper(settings):
    from mmcv.ops import deform_conv2d
    x, offset, mask, weight = drawn(*settings)
    expected = by_definition(x, offset, torch.ones_like(mask), weight, *settings)
    torch.testing.assert_close(deform_conv2d(x, offset, weight, *settings), expected)


@pytest.mark.parametrize('settings', SETTINGS)
def test_version_2_multiplies_by_the_mask_and_adds_the_bias(settings):
    from mmcv.ops import modulated_deform_conv2d
    x, offset, mask, weight = drawn(*settings)
    expected = by_definition(x, offset, mask, weight, *settings)
    bias = torch.tensor([.5, -2.]).double()
    torch.testing.assert_close(modulated_deform_conv2d(x, offset, mask, weight, None, *settings), expected)
    torch.testing.assert_close(modulated_deform_conv2d(x, offset, mask, weight, bias, *settings),
                               expected + bias[:, None, None])


def test_without_offsets_they_are_convolutions_and_pixels_move_down_before_right():
    from mmcv.ops import deform_conv2d
    x, weight = torch.randn(1, 2, 6, 7), torch.randn(3, 2, 3, 3)
    offset = torch.zeros(1, 18, 4, 5)
    torch.testing.assert_close(deform_conv2d(x, offset, weight), torch.nn.functional.conv2d(x, weight))
    offset[:, 0::2] = 1
    moved = deform_conv2d(x, offset, weight)
    torch.testing.assert_close(moved[:, :, :3], torch.nn.functional.conv2d(x[:, :, 1:], weight))


def test_the_weight_gets_its_gradient_where_nothing_else_does():
    from mmcv.ops import deform_conv2d
    x, offset, _, weight = drawn(*SETTINGS[4])
    grads = []
    for others in (True, False):
        leaves = [tensor.clone().requires_grad_(learns)
                  for tensor, learns in ((x, others), (offset, others), (weight, True))]
        deform_conv2d(*leaves, *SETTINGS[4]).square().sum().backward()
        grads.append(leaves[2].grad)
    torch.testing.assert_close(*grads)
