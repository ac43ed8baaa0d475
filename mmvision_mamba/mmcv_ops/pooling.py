"""Features of boxes, pooled from samples at movable or chosen places.

Between the centres of pixels samples are bilinear; up to a pixel beyond the map they are those of its border; farther
away they are 0. RoIAlign samples by the same rule.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import widened


def deform_roi_pool_forward(input: Tensor, rois: Tensor, offset: Tensor, output: Tensor, pooled_height: int,
                            pooled_width: int, spatial_scale: float, sampling_ratio: int, gamma: float) -> None:
    """Fill `output` (K, C, pooled height, pooled width): means over bins that `offset` moves.

    Args:
        input: (N, C, H, W).
        rois: (K, 5): image, x1, y1, x2, y2.
        offset: (K, 2, pooled height, pooled width), x before y, in parts of the region's size times `gamma`; empty:
            nothing moves.
        output: filled.
        pooled_height: bins.
        pooled_width: bins.
        spatial_scale: pixels of the map per unit of `rois`.
        sampling_ratio: samples per bin and side; 0: one per pixel that it covers.
        gamma: of `offset`.
    """
    output[:] = _deform_roi_pool(*widened(input, rois, offset), pooled_height, pooled_width, spatial_scale,
                                 sampling_ratio, gamma)


def deform_roi_pool_backward(grad_output: Tensor, input: Tensor, rois: Tensor, offset: Tensor, grad_input: Tensor,
                             grad_offset: Tensor, pooled_height: int, pooled_width: int, spatial_scale: float,
                             sampling_ratio: int, gamma: float) -> None:
    """Fill `grad_input` and `grad_offset`, zeros so far. The samples are taken again."""
    grad_output, input, rois, offset = widened(grad_output, input.detach(), rois, offset.detach())
    with torch.enable_grad():
        input.requires_grad_()
        offset.requires_grad_()
        pooled = _deform_roi_pool(input, rois, offset, pooled_height, pooled_width, spatial_scale, sampling_ratio,
                                  gamma)
    if pooled.requires_grad:  # else no region has a sample
        found = torch.autograd.grad(pooled, (input, offset), grad_output, materialize_grads=True)
        grad_input[:] = found[0]
        grad_offset[:] = found[1]


def _deform_roi_pool(input: Tensor, rois: Tensor, offset: Tensor, pooled_height: int, pooled_width: int,
                     spatial_scale: float, sampling_ratio: int, gamma: float) -> Tensor:
    start, end = (rois[:, 1:] * spatial_scale - .5).to(input.dtype).split(2, 1)  # (K, 2), x before y
    size = end - start
    bins = size / size.new_tensor((pooled_width, pooled_height))
    column, row = (torch.arange(count, device=input.device, dtype=input.dtype)
                   for count in (pooled_width, pooled_height))
    corners = start[:, None, None] + bins[:, None, None] * torch.stack(torch.meshgrid(column, row, indexing='xy'), -1)
    if offset.numel():
        corners = corners + gamma * size[:, None, None] * offset.permute(0, 2, 3, 1)
    if sampling_ratio > 0:
        samples = torch.full_like(bins, sampling_ratio, dtype=torch.int64)
    else:
        samples = bins.ceil().long().clamp_min(0)
    pooled = corners.new_zeros(len(rois), input.shape[1], pooled_height, pooled_width)
    # Regions of one image with as many samples to a bin go together.
    kinds, kind = torch.cat([rois[:, :1].long(), samples], 1).unique(dim=0, return_inverse=True)
    for index, (image, across, down) in enumerate(kinds.tolist()):
        if not across * down:
            continue
        chosen = (kind == index).nonzero().squeeze(1)
        x, y = ((torch.arange(count, device=input.device, dtype=input.dtype) + .5) / count for count in (across, down))
        within = torch.stack(torch.meshgrid(x, y, indexing='xy'), -1).flatten(0, 1)  # (samples, 2)
        places = corners[chosen][..., None, :] + bins[chosen][:, None, None, None] * within
        found = _sampled(input[image:image + 1], places.flatten(0, 2)[None]).mean(3)
        pooled = pooled.index_add(0, chosen, found.view(-1, len(chosen), pooled_height, pooled_width).transpose(0, 1))
    return pooled


def border_align_forward(input: Tensor, boxes: Tensor, output: Tensor, argmax_idx: Tensor, pool_size: int) -> None:
    """Fill `output` (N, C, K, 4) with the greatest sample of each border (https://arxiv.org/abs/2007.11056).

    Args:
        input: (N, 4C, H, W), the maps for the borders: top, left, bottom, right.
        boxes: (N, K, 4): x1, y1, x2, y2, in pixels of the map.
        output: filled.
        argmax_idx: filled with the sample's number.
        pool_size: intervals between samples; the first samples are the corners that x1, y1 or x2, y2 name.
    """
    input, boxes = widened(input, boxes)
    for side, maps in enumerate(input.chunk(4, 1)):
        steps = torch.arange(pool_size + 1, device=boxes.device, dtype=boxes.dtype)
        values, number = _sampled(maps, _border(boxes[:, :, None], side, steps, pool_size)).max(3)
        output[..., side] = values
        argmax_idx[..., side] = number


def border_align_backward(grad_output: Tensor, boxes: Tensor, argmax_idx: Tensor, grad_input: Tensor,
                          pool_size: int) -> None:
    """Fill `grad_input`: what comes to each border goes to the sample that was the greatest."""
    grad_output, boxes = widened(grad_output, boxes)
    height, width = grad_input.shape[2:]
    for side, grad_maps in enumerate(grad_input.chunk(4, 1)):
        x, y = _border(boxes[:, None], side, argmax_idx[..., side].to(boxes.dtype), pool_size).unbind(-1)  # (N, C, K)
        grad = grad_output[..., side] * _near(x, y, height, width)
        x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
        left, top = x.floor(), y.floor()
        found = torch.zeros_like(grad_maps, dtype=grad.dtype).flatten(2)
        for column, across in ((left, 1 - (x - left)), (left + 1, x - left)):
            for row, down in ((top, 1 - (y - top)), (top + 1, y - top)):
                pixel = row.clamp_max(height - 1) * width + column.clamp_max(width - 1)  # beyond, the weight is 0
                found.scatter_add_(2, pixel.long(), grad * across * down)
        grad_maps[:] = found.view(grad_maps.shape)


def _border(boxes: Tensor, side: int, step: Tensor, pool_size: int) -> Tensor:
    """Places (…, 2) on one side of boxes (…, 4): from the corner x1, y1 right or down, or from x2, y2 left or up."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    x, y, sign = (x1, y1, 1) if side < 2 else (x2, y2, -1)
    across, down = (x2 - x1, 0 * y) if side % 2 == 0 else (0 * x, y2 - y1)
    return torch.stack([x + sign * step * (across / pool_size), y + sign * step * (down / pool_size)], -1)


def _sampled(maps: Tensor, places: Tensor) -> Tensor:
    """Samples (N, C, …) of maps (N, C, H, W) at places (N, …, 2), in pixels, x before y. Two dimensions are in between.
    """
    height, width = maps.shape[2:]
    x, y = places.unbind(-1)
    grid = torch.stack([x * (2 / max(width - 1, 1)) - 1, y * (2 / max(height - 1, 1)) - 1], -1)
    samples = F.grid_sample(maps, grid, padding_mode='border', align_corners=True)
    return samples * _near(x, y, height, width)[:, None]


def _near(x: Tensor, y: Tensor, height: int, width: int) -> Tensor:
    """Whether places are at most a pixel beyond the border."""
    return (x >= -1) & (x <= width) & (y >= -1) & (y <= height)
