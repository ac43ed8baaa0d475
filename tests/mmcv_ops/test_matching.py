"""Overlaps and correlations against loops over their definitions."""
import pytest
import torch

pytestmark = pytest.mark.usefixtures('our_operators')


@pytest.mark.parametrize('mode', ['iou', 'iof'])
@pytest.mark.parametrize('aligned', [False, True])
@pytest.mark.parametrize('offset', [0, 1])
def test_overlaps_are_intersections_over_unions(mode, aligned, offset):
    from mmcv.ops import bbox_overlaps
    corners, others = torch.rand(5, 2).double() * 9, torch.rand(5, 2).double() * 9
    first = torch.cat([corners, corners + torch.rand(5, 2) * 9], 1)
    second = torch.cat([others, others + torch.rand(5, 2) * 9], 1)
    found = bbox_overlaps(first, second, mode, aligned, offset)
    for i, (x1, y1, x2, y2) in enumerate(first.tolist()):
        for j, (u1, v1, u2, v2) in enumerate(second.tolist()):
            if aligned and i != j:
                continue
            both = max(min(x2, u2) - max(x1, u1) + offset, 0) * max(min(y2, v2) - max(y1, v1) + offset, 0)
            area = (x2 - x1 + offset) * (y2 - y1 + offset)
            union = area + (u2 - u1 + offset) * (v2 - v1 + offset) - both
            assert found[i if aligned else (i, j)] == pytest.approx(both / (union if mode == 'iou' else area))


@pytest.mark.parametrize('kernel, displacement, stride, padding, dilation, apart', [
    (1, 2, 1, 0, 1, 1), (3, 1, 1, 1, 1, 1), (3, 2, 2, 2, 2, 3), (1, 0, 3, 1, 1, 1)])
def test_correlation_is_the_product_with_displaced_maps(kernel, displacement, stride, padding, dilation, apart):
    from mmcv.ops import Correlation
    torch.manual_seed(0)
    first, second = torch.randn(2, 2, 3, 7, 6).double()
    found = Correlation(kernel, displacement, stride, padding, dilation, apart)(first, second)
    expected = torch.zeros_like(found)
    for n, i, j, row, column in torch.cartesian_prod(*map(torch.arange, found.shape)).tolist():
        for a in range(kernel):
            for b in range(kernel):
                y, x = row * stride - padding + a * dilation, column * stride - padding + b * dilation
                v, u = y + (i - displacement) * apart, x + (j - displacement) * apart
                if all(0 <= value < limit for value, limit in ((y, 7), (v, 7), (x, 6), (u, 6))):
                    expected[n, i, j, row, column] += (first[n, :, y, x] * second[n, :, v, u]).sum()
    torch.testing.assert_close(found, expected)
