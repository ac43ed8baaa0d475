"""Deformable convolutions and attention maps, whose kernels compiled mmcv has on CPUs; overlaps of boxes."""
import torch

from .boxes import draw_boxes
from .calls import on_device, operator, uniform, with_gradients

# Stride, padding and dilation (rows, columns), groups, deformable groups.
CONVOLUTIONS = ((1, 1, 1, 1, 1), ((2, 1), (0, 2), (1, 2), 2, 1), ((1, 2), (2, 1), (2, 1), 1, 4), (2, 0, 1, 4, 2))


def draw_convolution(random, stride, padding, dilation, groups, deform_groups, dtype):
    """Maps, offsets, masks, weights and biases: two images, a kernel of 3 × 2."""
    (sh, sw), (ph, pw), (dh, dw) = ((value, value) if isinstance(value, int) else value
                                    for value in (stride, padding, dilation))
    height, width = random.randint(6, 10, 2)
    size = (height + 2 * ph - 2 * dh - 1) // sh + 1, (width + 2 * pw - dw - 1) // sw + 1
    return dict(maps=uniform(random, 2, 4, height, width, dtype=dtype),
                offset=uniform(random, 2, deform_groups * 12, *size, low=-4, high=4, dtype=dtype),
                mask=uniform(random, 2, deform_groups * 6, *size, dtype=dtype),
                weight=uniform(random, 8, 4 // groups, 3, 2, dtype=dtype), bias=uniform(random, 8, dtype=dtype))


@operator(1e-5, convolution=CONVOLUTIONS, dtype=(torch.float32, torch.float64))
def deform_conv(random, convolution, dtype):
    from mmcv.ops import deform_conv2d
    inputs = draw_convolution(random, *convolution, dtype)
    return with_gradients(lambda maps, offset, weight: deform_conv2d(maps, offset, weight, *convolution), random,
                          **{name: inputs[name] for name in ('maps', 'offset', 'weight')})


@operator(1e-5, convolution=CONVOLUTIONS, with_bias=(False, True))
def modulated_deform_conv(random, convolution, with_bias):
    from mmcv.ops import modulated_deform_conv2d
    inputs = draw_convolution(random, *convolution, torch.float32)
    if not with_bias:
        del inputs['bias']
    return with_gradients(lambda maps, offset, mask, weight, bias=None: modulated_deform_conv2d(
        maps, offset, mask, weight, bias, *convolution), random, **inputs)


@operator(1e-5, size=((4, 5), (3, 4)))
def modulated_deform_conv_of_a_larger_level(random, size):
    from mmcv.ops import modulated_deform_conv2d
    inputs = dict(maps=uniform(random, 2, 4, *size), offset=uniform(random, 2, 18, 8, 9, low=-4, high=4),
                  mask=uniform(random, 2, 9, 8, 9), weight=uniform(random, 8, 4, 3, 3))
    return with_gradients(lambda *tensors: modulated_deform_conv2d(*tensors, None, 1, 1), random, **inputs)


@operator(psa_type=('collect', 'distribute'), mask_size=((1, 1), (3, 5), (2, 4), (9, 11)))
def psamask(random, psa_type, mask_size):
    from mmcv.ops import PSAMask
    return with_gradients(PSAMask(psa_type, mask_size), random,
                          masks=uniform(random, 2, mask_size[0] * mask_size[1], *random.randint(3, 6, 2)))


@operator(kind=('apart', 'ties', 'far', 'none'), mode=('iou', 'iof'), aligned=(False, True), offset=(0, 1))
def bbox_overlaps(random, kind, mode, aligned, offset):
    from mmcv.ops import bbox_overlaps
    boxes, _ = draw_boxes(random, kind, most=30)
    others = boxes[on_device(random.permutation(len(boxes)))] if aligned else draw_boxes(random, kind, 30)[0]
    return dict(overlaps=bbox_overlaps(boxes, others, mode, aligned, offset))
