"""Pooling of boxes against loops over its definitions."""
import math

import pytest
import torch

from ..helpers.bilinear import bilinear_near

pytestmark = pytest.mark.usefixtures('our_operators')


def pooled_by_definition(maps, rois, offset, size, scale, ratio, gamma):
    output = maps.new_zeros(len(rois), maps.shape[1], *size)
    for k, c, row, column in torch.cartesian_prod(*map(torch.arange, output.shape)).tolist():
        image, x1, y1, x2, y2 = rois[k].tolist()
        left, top = x1 * scale - .5, y1 * scale - .5
        width, height = (x2 - x1) * scale, (y2 - y1) * scale
        bin_width, bin_height = width / size[1], height / size[0]
        across, down = ratio or math.ceil(bin_width), ratio or math.ceil(bin_height)
        if offset is not None:
            left += gamma * width * float(offset[k, 0, row, column])
            top += gamma * height * float(offset[k, 1, row, column])
        samples = [bilinear_near(maps[int(image), c], top + (row + (i + .5) / down) * bin_height,
                                 left + (column + (j + .5) / across) * bin_width)
                   for i in range(down) for j in range(across)]
        output[k, c, row, column] = sum(samples) / max(len(samples), 1)
    return output


ROIS = torch.tensor([[1, 1.2, .3, 9.1, 6.2], [0, -4, 1, 3, 14.3], [1, 3, 3, 3, 3], [0, 4, 4, 4, 9], [0, 30, 30, 40, 40],
                     [1, 1, 2, 6, 5]]).double()


@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('scale', [1., .5])
@pytest.mark.parametrize('moved', [False, True])
def test_deform_roi_pool_averages_the_samples_of_moved_bins(ratio, scale, moved):
    from mmcv.ops import deform_roi_pool
    torch.manual_seed(0)
    maps, offset = torch.randn(2, 3, 7, 6).double(), torch.randn(6, 2, 3, 2).double() if moved else None
    expected = pooled_by_definition(maps, ROIS, offset, (3, 2), scale, ratio, .3)
    torch.testing.assert_close(deform_roi_pool(maps, ROIS, offset, (3, 2), scale, ratio, .3), expected)


def test_deform_roi_pool_without_offsets_is_roi_align():
    from mmcv.ops import deform_roi_pool
    from torchvision.ops import roi_align
    maps = torch.randn(2, 3, 7, 6).double()
    torch.testing.assert_close(deform_roi_pool(maps, ROIS, None, (3, 2), 1., 2, .1),
                               roi_align(maps, ROIS, (3, 2), 1., 2, aligned=True))


@pytest.mark.parametrize('pool_size', [1, 4])
@pytest.mark.parametrize('size', [(5, 6), (1, 7)])
def test_border_align_takes_the_greatest_sample_of_each_side(pool_size, size):
    from mmcv.ops import border_align
    torch.manual_seed(0)
    maps = torch.randn(2, 8, *size).double()
    corners = torch.rand(2, 7, 2).double() * 8 - 2
    boxes = torch.cat([corners, corners + torch.rand(2, 7, 2).double() * 5], 2)
    boxes[:, 0, 2:] = boxes[:, 0, :2]
    expected = torch.zeros(2, 2, 7, 4).double()
    for n, c, k in torch.cartesian_prod(*map(torch.arange, (2, 2, 7))).tolist():
        x1, y1, x2, y2 = boxes[n, k].tolist()
        for side, (x, y, right, down) in enumerate(((x1, y1, x2 - x1, 0), (x1, y1, 0, y2 - y1),
                                                    (x2, y2, x1 - x2, 0), (x2, y2, 0, y1 - y2))):
            expected[n, c, k, side] = max(
                bilinear_near(maps[n, 2 * side + c], y + down * step / pool_size, x + right * step / pool_size)
                for step in range(pool_size + 1))
    torch.testing.assert_close(border_align(maps, boxes, pool_size), expected)
