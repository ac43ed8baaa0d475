"""What two sets have in common: boxes by their overlap, maps by their correlation."""
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import widened


def bbox_overlaps(bboxes1: Tensor, bboxes2: Tensor, ious: Tensor, mode: int, aligned: bool, offset: int) -> None:
    """Fill `ious` (M, N), or (M,) if `aligned`, with overlaps of boxes (M, 4) and (N, 4): x1, y1, x2, y2.

    `mode` 0: intersection over union, 1: over the first box. `offset` 1: the pixels of x2 and y2 belong to the box.
    """
    first, second = widened(bboxes1, bboxes2)
    first_area, second_area = ((box[:, 2:] - box[:, :2] + offset).prod(1) for box in (first, second))
    if not aligned:
        first, first_area = first[:, None], first_area[:, None]
    corners = torch.maximum(first[..., :2], second[:, :2]), torch.minimum(first[..., 2:], second[:, 2:])
    both = (corners[1] - corners[0] + offset).clamp_min(0).prod(-1)
    ious[:] = both / (first_area if mode else first_area + second_area - both)


def correlation_forward(input1: Tensor, input2: Tensor, output: Tensor, kH: int, kW: int, patchH: int, patchW: int,
                        padH: int, padW: int, dilationH: int, dilationW: int, dilation_patchH: int,
                        dilation_patchW: int, dH: int, dW: int) -> None:
    """Fill `output` (N, patchH, patchW, H', W') with the products of maps (N, C, H, W), the second one displaced.

    Products are summed over channels and the kH × kW taps of a window, which moves by dH and dW over maps padded by
    zeros; `patchH` · `patchW` displacements, centred on 0, are `dilation_patchH` and `dilation_patchW` apart.
    """
    input1, input2 = widened(input1, input2)
    pairs = _Pairs(input1, patchH, patchW, padH, padW, dilation_patchH, dilation_patchW)
    first, second = pairs.pad(input1), pairs.pad_far(input2)
    for row, column, window in pairs.windows(second):
        products = (first * window).sum(1)
        output[:, row, column] = sum(_taps(products, output, kH, kW, dilationH, dilationW, dH, dW))


def correlation_backward(grad_output: Tensor, input1: Tensor, input2: Tensor, grad_input1: Tensor, grad_input2: Tensor,
                         kH: int, kW: int, patchH: int, patchW: int, padH: int, padW: int, dilationH: int,
                         dilationW: int, dilation_patchH: int, dilation_patchW: int, dH: int, dW: int) -> None:
    """Fill `grad_input1` and `grad_input2`."""
    grad_output, input1, input2 = widened(grad_output, input1, input2)
    pairs = _Pairs(input1, patchH, patchW, padH, padW, dilation_patchH, dilation_patchW)
    first, second = pairs.pad(input1), pairs.pad_far(input2)
    found1, found2 = torch.zeros_like(first), torch.zeros_like(second)
    for (row, column, window), (_, _, found_window) in zip(pairs.windows(second), pairs.windows(found2)):
        grad_products = first.new_zeros(len(first), *first.shape[2:])
        for tap in _taps(grad_products, grad_output, kH, kW, dilationH, dilationW, dH, dW):
            tap += grad_output[:, row, column]
        found1 += grad_products[:, None] * window
        found_window += grad_products[:, None] * first
    grad_input1[:] = pairs.unpad(found1, pairs.padding)
    grad_input2[:] = pairs.unpad(found2, pairs.far)


def _taps(products: Tensor, output: Tensor, kH: int, kW: int, dilationH: int, dilationW: int, dH: int,
          dW: int) -> Iterator[Tensor]:
    """For each tap of the window, the products (N, H', W') under it, as a view."""
    height, width = output.shape[3:]
    for row in range(0, kH * dilationH, dilationH):
        for column in range(0, kW * dilationW, dilationW):
            yield products[:, row:row + (height - 1) * dH + 1:dH, column:column + (width - 1) * dW + 1:dW]


class _Pairs:
    """Padded maps, and for each displacement the part of the second that meets the first."""

    def __init__(self, maps: Tensor, patchH: int, patchW: int, padH: int, padW: int, stepH: int, stepW: int):
        self.size, self.padding = maps.shape[2:], (padH, padW)
        self.reach = stepH * (patchH - 1) // 2, stepW * (patchW - 1) // 2
        self.far = padH + self.reach[0], padW + self.reach[1]
        self.displacements = [(row, column, row * stepH, column * stepW)
                              for row in range(patchH) for column in range(patchW)]

    def pad(self, maps: Tensor) -> Tensor:
        return F.pad(maps, (self.padding[1],) * 2 + (self.padding[0],) * 2)

    def pad_far(self, maps: Tensor) -> Tensor:
        """Padded also by how far displacements reach."""
        return F.pad(maps, (self.far[1],) * 2 + (self.far[0],) * 2)

    def unpad(self, maps: Tensor, padding: tuple[int, int]) -> Tensor:
        return maps[:, :, padding[0]:padding[0] + self.size[0], padding[1]:padding[1] + self.size[1]]

    def windows(self, maps: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        height, width = self.size[0] + 2 * self.padding[0], self.size[1] + 2 * self.padding[1]
        for row, column, down, right in self.displacements:
            yield row, column, maps[:, :, down:down + height, right:right + width]
