"""Deformable convolution, version 1 (https://arxiv.org/abs/1703.06211) and 2 (https://arxiv.org/abs/1811.11168).

Shapes: `input` (N, C, H, W), `weight` (O, C / groups, kH, kW), `offset` (N, 2 · deform groups · kH · kW, H', W') with y
before x for each tap of the kernel, `mask` (N, deform groups · kH · kW, H', W'), `output` (N, O, H', W'). torchvision
reads both numbers of groups from these. What mmcv passes for scratch and for cutting batches into steps is not needed.
"""
import torch
import torch.nn.functional as F
import torchvision  # noqa: F401  registers the operators
from torch import Tensor

from .precision import widened, without_autocast


def deform_conv_forward(input: Tensor, weight: Tensor, offset: Tensor, output: Tensor, columns: Tensor, ones: Tensor,
                        kW: int, kH: int, dW: int, dH: int, padW: int, padH: int, dilationW: int, dilationH: int,
                        group: int, deformable_group: int, im2col_step: int) -> None:
    """Fill `output`."""
    input, weight, offset = widened(input, weight, offset)
    with without_autocast(input):
        output[:] = torch.ops.torchvision.deform_conv2d(
            input, weight, offset, *_no_mask_nor_bias(input, weight), dH, dW, padH, padW, dilationH, dilationW, group,
            deformable_group, False)


def deform_conv_backward_input(input: Tensor, offset: Tensor, grad_output: Tensor, grad_input: Tensor,
                               grad_offset: Tensor, weight: Tensor, columns: Tensor, kW: int, kH: int, dW: int, dH: int,
                               padW: int, padH: int, dilationW: int, dilationH: int, group: int, deformable_group: int,
                               im2col_step: int) -> None:
    """Fill `grad_input` and `grad_offset`."""
    input, weight, offset, grad_output = widened(input, weight, offset, grad_output)
    with without_autocast(input):
        grad_input[:], _, grad_offset[:], _, _ = torch.ops.torchvision._deform_conv2d_backward(
            grad_output, input, weight, offset, *_no_mask_nor_bias(input, weight), dH, dW, padH, padW, dilationH,
            dilationW, group, deformable_group, False)


def deform_conv_backward_parameters(input: Tensor, offset: Tensor, grad_output: Tensor, grad_weight: Tensor,
                                    columns: Tensor, ones: Tensor, kW: int, kH: int, dW: int, dH: int, padW: int,
                                    padH: int, dilationW: int, dilationH: int, group: int, deformable_group: int,
                                    scale: float, im2col_step: int) -> None:
    """Add `scale` times the gradient to `grad_weight`.

    torchvision's backward would compute the gradients of input and offset once more, nine tenths of its work. The
    values that the taps sample, of one image at a time, come from a convolution that copies tap t to channel t.
    """
    input, offset, grad_output = widened(input, offset, grad_output)
    taps, channels = kH * kW, input.shape[1]
    copies = torch.eye(taps, dtype=input.dtype, device=input.device).view(taps, 1, kH, kW).repeat(channels, 1, 1, 1)
    found = input.new_zeros(group, len(grad_weight) // group, channels // group * taps)
    with without_autocast(input):
        for image, offsets, grad in zip(input.split(1), offset.split(1), grad_output):
            sampled = torch.ops.torchvision.deform_conv2d(
                image, copies, offsets, *_no_mask_nor_bias(image, copies), dH, dW, padH, padW, dilationH, dilationW,
                channels, deformable_group, False)
            found += grad.reshape(group, found.shape[1], -1) @ sampled.view(group, found.shape[2], -1).transpose(1, 2)
    grad_weight += scale * found.view(grad_weight.shape)


def _no_mask_nor_bias(input: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    return input.new_zeros(len(input), 1), input.new_zeros(len(weight))


def modulated_deform_conv_forward(input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor,
                                  mask: Tensor, output: Tensor, columns: Tensor, kernel_h: int, kernel_w: int,
                                  stride_h: int, stride_w: int, pad_h: int, pad_w: int, dilation_h: int,
                                  dilation_w: int, group: int, deformable_group: int, with_bias: bool) -> None:
    """Fill `output`. `bias` (O,) counts if `with_bias`.

    Of each image's offsets and masks, in memory's order, the first are taken, where maps have more of them than the
    output has places: so does compiled mmcv, and DyHead passes those of the next larger level.
    """
    offset, mask = _first(offset, output), _first(mask, output)
    input, weight, bias, offset, mask = widened(input, weight, bias, offset, mask)
    with without_autocast(input):
        output[:] = torch.ops.torchvision.deform_conv2d(
            input, weight, offset, mask, bias if with_bias else input.new_zeros(len(weight)), stride_h, stride_w, pad_h,
            pad_w, dilation_h, dilation_w, group, deformable_group, True)


def modulated_deform_conv_backward(input: Tensor, weight: Tensor, bias: Tensor, ones: Tensor, offset: Tensor,
                                   mask: Tensor, columns: Tensor, grad_input: Tensor, grad_weight: Tensor,
                                   grad_bias: Tensor, grad_offset: Tensor, grad_mask: Tensor, grad_output: Tensor,
                                   kernel_h: int, kernel_w: int, stride_h: int, stride_w: int, pad_h: int, pad_w: int,
                                   dilation_h: int, dilation_w: int, group: int, deformable_group: int,
                                   with_bias: bool) -> None:
    """Fill the gradients, that of the bias if `with_bias`."""
    offset, mask = _first(offset, grad_output), _first(mask, grad_output)
    input, weight, bias, offset, mask, grad_output = widened(input, weight, bias, offset, mask, grad_output)
    with without_autocast(input):
        found_input, found_weight, found_offset, found_mask, found_bias = torch.ops.torchvision._deform_conv2d_backward(
            grad_output, input, weight, offset, mask, bias if with_bias else input.new_zeros(len(weight)), stride_h,
            stride_w, pad_h, pad_w, dilation_h, dilation_w, group, deformable_group, True)
    grad_input[:], grad_weight[:] = found_input, found_weight
    for gradient, found in ((grad_offset, found_offset), (grad_mask, found_mask)):
        surplus = gradient.shape[1:].numel() - found.shape[1:].numel()
        gradient[:] = F.pad(found.flatten(1), (0, surplus)).view(gradient.shape)
    if with_bias:
        grad_bias[:] = found_bias


def _first(maps: Tensor, output: Tensor) -> Tensor:
    """The maps (N, C, H, W) as (N, C, H', W') of the output, made of the first numbers of each image."""
    channels, height, width = maps.shape[1], *output.shape[2:]
    count = channels * height * width
    if maps.shape[2:] == output.shape[2:] or maps.shape[1:].numel() < count:  # too few: torchvision says so
        return maps
    return maps.flatten(1)[:, :count].unflatten(1, (channels, height, width))
