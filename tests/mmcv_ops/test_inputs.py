"""Operators with gradients: these, types, strides, empty batches, autocast, tracing."""
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

pytestmark = pytest.mark.usefixtures('our_operators')

ROIS = torch.tensor([[0, 1.2, .3, 5.1, 6.2], [1, -2, 1, 5, 4.3], [0, 3, 3, 3, 3]])
SHAPES, STARTS = torch.tensor([[3, 4], [2, 2]]), torch.tensor([0, 12])
BATCHED_BOXES = torch.tensor([[[.2, .3, 3.3, 2.6], [1.1, 1.2, 9., 9.]], [[-3., 1.1, 1.7, 2.], [2.3, .6, 2.9, 1.7]]])


@dataclass(frozen=True)
class Case:
    """A call of mmcv's Python.

    Attributes:
        function: takes the inputs.
        shapes: of the inputs, drawn from a normal distribution.
        traced: whether `torch.compile` takes the call without a break.
        double: whether mmcv's Python takes float64.
        empty: whether mmcv's Python takes empty batches.
    """
    function: Callable[..., Tensor]
    shapes: tuple[tuple[int, ...], ...]
    traced: bool = True
    double: bool = True
    empty: bool = True

    def inputs(self, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        torch.manual_seed(0)
        return [torch.randn(shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in self.shapes]


def deform_conv(x, offset, weight):
    from mmcv.ops import deform_conv2d
    return deform_conv2d(x, offset, weight, (2, 1), (1, 0), (1, 2), 2, 2)


def modulated_deform_conv(x, offset, mask, weight, bias):
    from mmcv.ops import modulated_deform_conv2d
    return modulated_deform_conv2d(x, offset, mask, weight, bias, (2, 1), (1, 0), (1, 2), 2, 2)


def sigmoid_focal_loss(scores):
    from mmcv.ops import sigmoid_focal_loss
    return sigmoid_focal_loss(scores, torch.arange(len(scores)) % 5, 2., .25, scores.new_tensor([1, .5, 2, 3]), 'none')


def softmax_focal_loss(scores):
    from mmcv.ops import softmax_focal_loss
    return softmax_focal_loss(scores, torch.arange(len(scores)) % 5, 2., .25, scores.new_tensor([1, .5, 2, 3]), 'sum')


def carafe(features, masks):
    from mmcv.ops import carafe
    return carafe(features, masks, 3, 2, 2)


def ms_deform_attn(value, locations, weights):
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
    return MultiScaleDeformableAttnFunction.apply(value, SHAPES, STARTS, locations, weights, 64)


def psamask(masks):
    from mmcv.ops import PSAMask
    return PSAMask('distribute', (3, 5))(masks)


def masked_conv(x):
    from mmcv.ops import masked_conv2d
    return masked_conv2d(x.detach(), (torch.arange(30) % 3).view(1, 6, 5), *(
        torch.ones(shape, dtype=x.dtype) for shape in ((4, 3, 3, 3), (4,))), 1)


def roi_align(x):
    from mmcv.ops import roi_align
    return roi_align(x, ROIS[:3 * len(x)].to(x.dtype), (3, 2), 1., 0, 'avg', True)


def roi_pool(x):
    from mmcv.ops import roi_pool
    return roi_pool(x, ROIS[:3 * len(x)].to(x.dtype), (3, 2), 1.)


def deform_roi_pool(x, offset):
    from mmcv.ops import deform_roi_pool
    return deform_roi_pool(x, ROIS[:len(offset)].to(x.dtype), offset, (3, 2), 1., 0, .1)


def border_align(x):
    from mmcv.ops import border_align
    return border_align(x, BATCHED_BOXES[:len(x)].to(x.dtype), 3)


def correlation(first, second):
    from mmcv.ops import Correlation
    return Correlation(3, 2, 2, 1, 2, 2)(first, second)


def sync_bn(x, weight, bias):
    from mmcv.ops.sync_bn import SyncBatchNormFunction
    mean, var = torch.zeros(3), torch.ones(3)
    return SyncBatchNormFunction.apply(x, mean, var, weight.float(), bias.float(), .1, 1e-5, None, 1, 'N')


CASES = dict(
    deform_conv=Case(deform_conv, ((2, 4, 7, 8), (2, 36, 4, 4), (6, 2, 3, 3)), empty=False),
    modulated_deform_conv=Case(modulated_deform_conv,
                               ((2, 4, 7, 8), (2, 36, 4, 4), (2, 18, 4, 4), (6, 2, 3, 3), (6,)), empty=False),
    sigmoid_focal_loss=Case(sigmoid_focal_loss, ((7, 4),)),
    softmax_focal_loss=Case(softmax_focal_loss, ((7, 4),)),
    carafe=Case(carafe, ((2, 4, 3, 5), (2, 18, 6, 10))),
    ms_deform_attn=Case(ms_deform_attn, ((2, 16, 2, 3), (2, 5, 2, 2, 3, 2), (2, 5, 2, 2, 3))),
    psamask=Case(psamask, ((2, 15, 4, 5),)),
    masked_conv=Case(masked_conv, ((1, 3, 6, 5),), traced=False, empty=False),  # the number of places is data
    roi_align=Case(roi_align, ((2, 3, 7, 6),)),
    roi_pool=Case(roi_pool, ((2, 3, 7, 6),)),
    deform_roi_pool=Case(deform_roi_pool, ((2, 3, 7, 6), (3, 2, 3, 2)), traced=False),  # regions are grouped by size
    border_align=Case(border_align, ((2, 8, 3, 4),)),
    correlation=Case(correlation, ((2, 3, 9, 8), (2, 3, 9, 8))),
    sync_bn=Case(sync_bn, ((3, 3, 4, 5), (3,), (3,)), traced=False, double=False),  # mmcv's asserts tensor types
)
LEARNING = [name for name in CASES if name != 'masked_conv']  # through which mmcv passes no gradient


def answer(case, inputs):
    """The output, and gradients of the inputs."""
    output = case.function(*inputs)
    if not output.requires_grad:
        return [output]
    upstream = torch.linspace(-1, 1, output.numel()).view(output.shape).to(output.dtype)
    return [output, *torch.autograd.grad(output, inputs, upstream, allow_unused=True)]


@pytest.mark.parametrize('name', [name for name in LEARNING if CASES[name].double])
def test_gradients_are_those_of_small_differences(name):
    assert torch.autograd.gradcheck(CASES[name].function, CASES[name].inputs(torch.float64))


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_answer_as_float32_does(name, dtype):
    case = CASES[name]
    if name == 'sync_bn' and dtype != torch.float16:
        pytest.skip("mmcv's Python refuses the type")
    inputs = case.inputs(dtype)
    found = answer(case, inputs)
    assert all(tensor.dtype == dtype for tensor in found)
    expected = answer(case, [tensor.detach().float().requires_grad_() for tensor in inputs])
    digits = torch.finfo(dtype).eps if dtype != torch.float64 else 1e-6
    for one, other in zip(found, expected):  # what mmcv itself computes in few digits is worth some more roundings
        allowed = 8 * digits * (1 + float(other.detach().abs().max()))
        torch.testing.assert_close(one.float(), other.float(), rtol=0, atol=allowed)


@pytest.mark.parametrize('name', CASES)
def test_strides_do_not_matter(name):
    if name == 'sync_bn':
        pytest.skip("mmcv's Python refuses them")
    case = CASES[name]
    inputs = case.inputs()
    expected = answer(case, inputs)
    layouts = [lambda x: x.transpose(0, -1).contiguous().transpose(0, -1)]  # the same numbers, the other way round
    layouts.append(lambda x: x.contiguous(memory_format=torch.channels_last) if x.dim() == 4 else x)
    for layout in layouts:
        strided = [layout(tensor.detach()).requires_grad_() for tensor in inputs]
        for found, wanted in zip(answer(case, strided), expected):
            torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize('name', [name for name, case in CASES.items() if case.empty])
def test_empty_batches_have_empty_answers(name):
    case = CASES[name]
    first = case.shapes[0][0]
    inputs = [torch.zeros(0 if shape[0] == first and len(shape) > 1 else shape[0], *shape[1:], requires_grad=True)
              for shape in case.shapes]
    if name == 'deform_roi_pool':
        inputs[0], inputs[1] = torch.randn(2, 3, 7, 6, requires_grad=True), torch.zeros(0, 2, 3, 2, requires_grad=True)
    for found, tensor in zip(answer(case, inputs)[1:], inputs):
        assert found is None or (found.shape == tensor.shape and not found.any())


@pytest.mark.parametrize('name', CASES)
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_leaves_them_in_the_type_that_they_get(name, dtype):
    case = CASES[name]
    if name == 'masked_conv':
        pytest.skip("mmcv's own matrix product is cast down")
    inputs = case.inputs()
    expected = answer(case, inputs)
    with torch.autocast('cpu', dtype):
        found = answer(case, inputs)
    for one, other in zip(found, expected):
        assert one.dtype == other.dtype
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize('name', [name for name in CASES if CASES[name].traced])
def test_they_compile_without_a_break(name):
    case = CASES[name]
    torch.compiler.reset()
    inputs = case.inputs()
    compiled = Case(torch.compile(case.function, fullgraph=True, backend='aot_eager'), case.shapes)
    for found, expected in zip(answer(compiled, inputs), answer(case, inputs)):
        torch.testing.assert_close(found, expected)
