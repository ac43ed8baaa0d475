"""CARAFE, content-aware reassembly of features (https://arxiv.org/abs/1905.02188).

Shapes: `features` (N, C, H, W), `masks` (N, groups · K², sH, sW), `output` (N, C, sH, sW), where s is the scale factor.
Each output is the sum of the K × K features around its source, weighted by its own mask.
"""
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import widened


def carafe_forward(features: Tensor, masks: Tensor, rfeatures: Tensor, routput: Tensor, rmasks: Tensor, output: Tensor,
                   kernel_size: int, group_size: int, scale_factor: int) -> None:
    """Fill `output`, and `rfeatures`, which mmcv keeps for the backward, with the features."""
    rfeatures[:] = features
    carafe_naive_forward(features, masks, output, kernel_size, group_size, scale_factor)


def carafe_backward(grad_output: Tensor, rfeatures: Tensor, masks: Tensor, rgrad_output: Tensor, rgrad_input_hs: Tensor,
                    rgrad_input: Tensor, rgrad_masks: Tensor, grad_input: Tensor, grad_masks: Tensor, kernel_size: int,
                    group_size: int, scale_factor: int) -> None:
    """Fill `grad_input` and `grad_masks`."""
    carafe_naive_backward(grad_output, rfeatures, masks, grad_input, grad_masks, kernel_size, group_size, scale_factor)


def carafe_naive_forward(features: Tensor, masks: Tensor, output: Tensor, kernel_size: int, group_size: int,
                         scale_factor: int) -> None:
    """Fill `output`."""
    features, masks = widened(features, masks)
    sources, masks = _sources(features, kernel_size, group_size, scale_factor), masks.unflatten(1, (group_size, -1))
    found = features.new_zeros(output.shape).unflatten(1, (group_size, -1))
    for tap, window in _windows(sources, kernel_size, scale_factor):
        found.addcmul_(window, masks[:, :, tap:tap + 1])
    output[:] = found.flatten(1, 2)


def carafe_naive_backward(grad_output: Tensor, features: Tensor, masks: Tensor, grad_input: Tensor, grad_masks: Tensor,
                          kernel_size: int, group_size: int, scale_factor: int) -> None:
    """Fill `grad_input` and `grad_masks`."""
    features, masks, grad_output = widened(features, masks, grad_output)
    sources = _sources(features, kernel_size, group_size, scale_factor)
    masks, grad_output = masks.unflatten(1, (group_size, -1)), grad_output.unflatten(1, (group_size, -1))
    found, found_masks = torch.zeros_like(sources), torch.zeros_like(masks)
    for (tap, window), (_, grad_window) in zip(_windows(sources, kernel_size, scale_factor),
                                               _windows(found, kernel_size, scale_factor)):
        found_masks[:, :, tap] = (grad_output * window).sum(2)
        grad_window += grad_output * masks[:, :, tap:tap + 1]
    margin, (height, width) = kernel_size // 2, features.shape[2:]
    blocks = found.unflatten(4, (-1, scale_factor)).unflatten(3, (-1, scale_factor)).sum((4, 6))
    grad_input[:] = blocks[..., margin:margin + height, margin:margin + width].flatten(1, 2)
    grad_masks[:] = found_masks.flatten(1, 2)


def _sources(features: Tensor, kernel_size: int, groups: int, scale: int) -> Tensor:
    """Features padded by half a kernel, each of them repeated for its s × s outputs: (N, groups, C / groups, …)."""
    padded = F.pad(features, (kernel_size // 2,) * 4).unflatten(1, (groups, -1))
    return padded.repeat_interleave(scale, 3).repeat_interleave(scale, 4)


def _windows(sources: Tensor, kernel_size: int, scale: int) -> Iterator[tuple[int, Tensor]]:
    """Each tap of the kernel and the features under it at every output, as a view."""
    height, width = (size - (kernel_size - 1) * scale for size in sources.shape[3:])
    for tap in range(kernel_size**2):
        row, column = (start * scale for start in divmod(tap, kernel_size))
        yield tap, sources[..., row:row + height, column:column + width]
