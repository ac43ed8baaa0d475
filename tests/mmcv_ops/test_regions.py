"""RoIAlign and RoIPool beyond what compiled mmcv's kernels for CPUs take: types, memory formats, odd regions."""
import numpy as np
import pytest
import torch

import mmvision_mamba  # noqa: F401  mmcv has operators then

pytest.importorskip('mmcv')

from mmcv.ops import RoIAlign, roi_align, roi_pool

from mmvision_mamba.errors import MissingOperatorError
from mmvision_mamba.mmcv_ops import regions

from ..helpers.mmcv_operators.calls import with_gradients
from ..helpers.mmcv_operators.regions import draw_regions

OPERATORS = dict(
    roi_align=lambda maps, regions: roi_align(maps, regions, (3, 2), 0.5, 2, 'avg', True),
    roi_pool=lambda maps, regions: roi_pool(maps, regions, (3, 2), 0.5))
DEVICES = ['cpu', pytest.param('cuda', marks=pytest.mark.gpu)]


pytestmark = pytest.mark.usefixtures('our_operators')


def pooled(name, maps, regions):
    random = np.random.RandomState(1)
    return with_gradients(lambda maps: OPERATORS[name](maps, regions).float(), random, maps=maps.clone())


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('name', OPERATORS)
def test_halves_are_as_float32_of_the_same_numbers(name, dtype, autocast, device):
    maps, regions = (tensor.to(device, dtype) for tensor in draw_regions(np.random.RandomState(0), torch.float32))
    expected = pooled(name, maps.float(), regions.float())
    with torch.autocast(device, dtype, enabled=autocast):
        assert OPERATORS[name](maps, regions).dtype == dtype
        found = pooled(name, maps, regions)
    tolerance = 8 * torch.finfo(dtype).eps
    for key in expected:
        torch.testing.assert_close(found[key].float(), expected[key], rtol=tolerance, atol=tolerance)
    assert found['grad_maps'].dtype == dtype


@pytest.mark.parametrize('name', OPERATORS)
def test_any_memory_format(name):
    maps, regions = draw_regions(np.random.RandomState(0), torch.float32)
    expected = pooled(name, maps, regions)
    wide, tall = torch.zeros(2, 3, *(2 * n for n in maps.shape[2:])), torch.zeros(14, 5)
    wide[:, :, ::2, ::2], tall[::2] = maps, regions
    for others in ((maps.to(memory_format=torch.channels_last), regions), (wide[:, :, ::2, ::2], tall[::2]),
                   (maps.mT.contiguous().mT, regions.T.contiguous().T)):
        found = pooled(name, *others)
        assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures('two_threads')
@pytest.mark.parametrize('mode', [torch.enable_grad, torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize(('channels', 'size', 'count'), [(70, (7, 7), 200), (1, (28, 28), 100), (2, (200, 190), 3)])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16])
def test_threads_share_many_regions_and_answer_as_one(dtype, channels, size, count, mode, monkeypatch):
    _, boxes = draw_regions(np.random.RandomState(0), torch.float32, count)
    boxes[0, 3] = float('nan')
    maps, boxes = torch.randn(2, channels, 11, 9).to(dtype), boxes.to(dtype)
    with mode():
        maps = maps.clone().requires_grad_(mode is torch.enable_grad)
        found = roi_align(maps, boxes, size, 0.5, 0, 'avg', True)
        monkeypatch.setattr(regions, '_wants_threads', lambda output: False)
        assert torch.equal(found, roi_align(maps, boxes, size, 0.5, 0, 'avg', True))
    assert found.requires_grad == (mode is torch.enable_grad)


@pytest.mark.usefixtures('two_threads')
def test_a_trace_holds_all_of_it():
    maps, boxes = draw_regions(np.random.RandomState(0), torch.float32, 300)
    module = RoIAlign(7, 0.5)
    assert regions._wants_threads(module(maps, boxes))
    traced = torch.jit.trace(module, (maps, boxes))
    assert torch.equal(traced(maps + 1, boxes.flip(0)), module(maps + 1, boxes.flip(0)))


@pytest.mark.parametrize('name', OPERATORS)
@pytest.mark.parametrize(('images', 'count'), [(0, 0), (2, 0)])
def test_no_region_and_no_image(name, images, count):
    found = pooled(name, torch.rand(images, 3, 8, 9), torch.zeros(count, 5))
    assert found['output'].shape == (count, 3, 3, 2) and not found['grad_maps'].any()


@pytest.mark.parametrize('ratio', [0, 2])
@pytest.mark.parametrize('corner', [float('nan'), float('inf'), -float('inf')])
def test_regions_that_are_not_finite_are_outside(corner, ratio):
    maps = torch.rand(1, 2, 8, 8, requires_grad=True)
    regions = torch.tensor([[0, 1, 1, corner, 5], [0, corner, corner, corner, corner], [0, 1, 1, 5, 5]])
    found = roi_align(maps, regions, 2, 1.0, ratio, 'avg', True)
    found.sum().backward()
    assert not found[:2].any() and found[2].all() and maps.grad.isfinite().all()


def test_negative_ratios_mean_as_many_samples_as_pixels():
    maps, regions = draw_regions(np.random.RandomState(0), torch.float32)
    assert torch.equal(roi_align(maps, regions, 3, 1.0, -1), roi_align(maps, regions, 3, 1.0, 0))


@pytest.mark.parametrize('name', OPERATORS)
def test_gradients_are_those_of_the_function(name):
    maps, regions = draw_regions(np.random.RandomState(3), torch.float64)
    assert torch.autograd.gradcheck(lambda maps: OPERATORS[name](maps, regions), maps.requires_grad_())


def test_pooling_is_the_largest_number_of_each_bin():
    maps = torch.rand(2, 3, 9, 11)
    found = roi_pool(maps, torch.tensor([[1, 2., 1, 7, 8], [0, 0, 0, 3, 3]]), (2, 2), 1.0)
    expected = torch.nn.functional.max_pool2d(maps[1, :, 1:9, 2:8], (4, 3))
    assert torch.equal(found[0], expected)
    assert torch.equal(found[1], torch.nn.functional.max_pool2d(maps[0, :, :4, :4], 2))


def test_the_largest_sample_needs_compiled_mmcv():
    with pytest.raises(MissingOperatorError, match=r"pool_mode='max' .*\n.*'avg', or compiled mmcv: .*make env"):
        RoIAlign(2, pool_mode='max')(torch.rand(1, 2, 8, 8), torch.zeros(1, 5))
