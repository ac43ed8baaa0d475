"""Deformable attention and PSANet's maps against loops over their definitions."""
import pytest
import torch

from mmvision_mamba.costs.memory import kept_for_backward, peak_memory
from mmvision_mamba.mmcv_ops import attention

from ..helpers.bilinear import bilinear

pytestmark = pytest.mark.usefixtures('our_operators')

SHAPES = torch.tensor([[4, 3], [2, 5], [1, 1]])
STARTS = torch.tensor([0, 12, 22])


def drawn():
    torch.manual_seed(0)
    value = torch.randn(2, 23, 2, 3).double()
    locations = torch.rand(2, 7, 2, 3, 4, 2).double() * 1.6 - .3  # some of them beyond the maps
    return value, locations, torch.rand(2, 7, 2, 3, 4).double()


def attend(value, locations, weights):
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
    return MultiScaleDeformableAttnFunction.apply(value, SHAPES, STARTS, locations, weights, 64)


def test_deformable_attention_is_the_sum_of_the_paper():
    value, locations, weights = drawn()
    expected = torch.zeros(2, 7, 2, 3).double()
    for n, query, head, channel in torch.cartesian_prod(*map(torch.arange, expected.shape)).tolist():
        for level, (height, width) in enumerate(SHAPES.tolist()):
            plane = value[n, STARTS[level]:, head, channel][:height * width].view(height, width)
            for (x, y), weight in zip(locations[n, query, head, level].tolist(), weights[n, query, head, level]):
                expected[n, query, head, channel] += weight * bilinear(plane, y * height - .5, x * width - .5)
    torch.testing.assert_close(attend(value, locations, weights), expected.flatten(2))


def test_deformable_attention_takes_few_queries_at_a_time(monkeypatch):
    inputs = [tensor.requires_grad_() for tensor in drawn()]
    whole = attend(*inputs)
    upstream = torch.randn_like(whole)
    grads = torch.autograd.grad(whole, inputs, upstream)
    monkeypatch.setattr(attention, 'SAMPLED', 3 * 2 * 2 * 3 * 4 * 3)  # three of the seven
    parts = attend(*inputs)
    torch.testing.assert_close(parts, whole)
    for found, expected in zip(torch.autograd.grad(parts, inputs, upstream), grads):
        torch.testing.assert_close(found, expected)


def test_deformable_attention_keeps_its_inputs_alone_and_samples_a_bounded_number(monkeypatch):
    queries = 1600
    value, locations, weights = torch.randn(1, 23, 2, 3), torch.rand(1, queries, 2, 3, 4, 2), torch.rand(
        1, queries, 2, 3, 4)
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]
    assert kept_for_backward(lambda: attend(*inputs), [*inputs, SHAPES, STARTS]) == 0
    sampled = 2 * queries * 3 * 3 * 4
    own = 4 * (2 * queries * 3 + sum(tensor.numel() for tensor in inputs))  # outputs of both directions
    peaks = {}
    for parts in (1, 10):
        monkeypatch.setattr(attention, 'SAMPLED', sampled // parts)
        with torch.no_grad():
            forward = peak_memory(lambda: attend(*inputs), torch.device('cpu'))
        assert forward < own + 4 * 3.5 * sampled / parts
        output = attend(*inputs)
        peaks[parts] = peak_memory(lambda output=output: output.sum().backward(), torch.device('cpu'))
    assert peaks[10] < 2 * own + peaks[1] / 5


def by_definition(masks, collect, mask_size):
    (h_mask, w_mask), (batch, _, height, width) = mask_size, masks.shape
    output = masks.new_zeros(batch, height * width, height, width)
    sizes = batch, height, width, h_mask, w_mask
    for n, row, column, i, j in torch.cartesian_prod(*map(torch.arange, sizes)).tolist():
        to_row, to_column = row + i - (h_mask - 1) // 2, column + j - (w_mask - 1) // 2
        if 0 <= to_row < height and 0 <= to_column < width:
            weight = masks[n, i * w_mask + j, row, column]
            if collect:
                output[n, to_row * width + to_column, row, column] = weight
            else:
                output[n, row * width + column, to_row, to_column] = weight
    return output


@pytest.mark.parametrize('mask_size', [(1, 1), (3, 5), (2, 4), (7, 9), (11, 3)])
@pytest.mark.parametrize('psa_type', ['collect', 'distribute'])
def test_psamask_puts_each_weight_in_its_place(psa_type, mask_size):
    from mmcv.ops import PSAMask
    masks = torch.randn(2, mask_size[0] * mask_size[1], 4, 5).double().requires_grad_()
    output, expected = PSAMask(psa_type, mask_size)(masks), by_definition(masks, psa_type == 'collect', mask_size)
    assert torch.equal(output, expected)
    upstream = torch.randn_like(output)
    assert torch.equal(*(torch.autograd.grad(found, masks, upstream)[0] for found in (output, expected)))
