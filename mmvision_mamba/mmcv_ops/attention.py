"""Attention to sampled places (https://arxiv.org/abs/2010.04159), and attention maps of whole images (PSANet's)."""
import torch
import torch.nn.functional as F
from torch import Tensor

from .precision import widened

# Elements of sampled values that deformable attention makes at once (0.4 GB in float32, with what is made of them). A
# fused kernel would make none; but they live only within a call, so that no more than this would be saved of the peak.
SAMPLED = 1 << 25


def ms_deform_attn_forward(value: Tensor, value_spatial_shapes: Tensor, value_level_start_index: Tensor,
                           sampling_locations: Tensor, attention_weights: Tensor, im2col_step: int) -> Tensor:
    """Sums of values sampled from all levels, weighted.

    For a moment, 3 `SAMPLED` elements are held beside the tensors that go in and out, in float32 or float64.

    Args:
        value: (N, keys, heads, channels), all levels' maps one after the other.
        value_spatial_shapes: (levels, 2), heights and widths.
        value_level_start_index: (levels,), which follows from the former.
        sampling_locations: (N, queries, heads, levels, points, 2), x before y, from 0 to 1 across a map.
        attention_weights: (N, queries, heads, levels, points).
        im2col_step: images at a time in compiled mmcv.

    Returns:
        (N, queries, heads · channels).
    """
    return _attend(value, value_spatial_shapes, sampling_locations, attention_weights)


def ms_deform_attn_backward(value: Tensor, value_spatial_shapes: Tensor, value_level_start_index: Tensor,
                            sampling_locations: Tensor, attention_weights: Tensor, grad_output: Tensor,
                            grad_value: Tensor, grad_sampling_loc: Tensor, grad_attn_weight: Tensor,
                            im2col_step: int) -> None:
    """Fill the gradients. The values are sampled again: nothing of that size is kept since the forward."""
    found = _attend_backward(value, value_spatial_shapes, sampling_locations, attention_weights, grad_output)
    for gradient, values in zip((grad_value, grad_sampling_loc, grad_attn_weight), found):
        gradient[:] = values


# Operators of the dispatcher, because the maps' sizes are numbers in a tensor, which a trace can't read.
@torch.library.custom_op('mmvision_mamba::ms_deform_attn', mutates_args=())
def _attend(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch
    sizes, (wide_value,) = shapes.tolist(), widened(value)
    output = value.new_empty(len(value), locations.shape[1], value.shape[2] * value.shape[3])
    for queries in _slices(wide_value, locations):
        output[:, queries] = multi_scale_deformable_attn_pytorch(
            wide_value, sizes, *widened(locations[:, queries], weights[:, queries]))
    return output


@_attend.register_fake
def _(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    return value.new_empty(value.shape[0], locations.shape[1], value.shape[2] * value.shape[3])


@torch.library.custom_op('mmvision_mamba::ms_deform_attn_backward', mutates_args=())
def _attend_backward(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor,
                     grad_output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    batch, _, heads, channels = value.shape
    wide_value, grad_output = widened(value, grad_output)
    grad_value = torch.zeros_like(wide_value)
    grad_locations, grad_weights = torch.empty_like(locations), torch.empty_like(weights)
    for queries in _slices(wide_value, locations):
        # (N · heads, channels, queries, 1)
        grad = grad_output[:, queries].unflatten(2, (heads, channels)).permute(0, 2, 3, 1).flatten(0, 1)[..., None]
        start = 0
        for level, (height, width) in enumerate(shapes.tolist()):
            keys = slice(start, start + height * width)
            start += height * width
            level_map = wide_value[:, keys].permute(0, 2, 3, 1).reshape(batch * heads, channels, height, width)
            grid, weight = widened(locations[:, queries, :, level].transpose(1, 2).flatten(0, 1),
                                   weights[:, queries, :, level].transpose(1, 2).flatten(0, 1))
            grid = 2 * grid - 1
            sampled = F.grid_sample(level_map, grid, align_corners=False)  # (N · heads, channels, queries, points)
            grad_weight = (sampled * grad).sum(1)
            del sampled
            grad_map, grad_grid = torch.ops.aten.grid_sampler_2d_backward(
                grad * weight[:, None], level_map, grid, 0, 0, False, (True, True))  # bilinear, zeros beyond the border
            grad_value[:, keys] += grad_map.view(batch, heads, channels, height * width).permute(0, 3, 1, 2)
            grad_locations[:, queries, :, level] = 2 * grad_grid.unflatten(0, (batch, heads)).transpose(1, 2)
            grad_weights[:, queries, :, level] = grad_weight.unflatten(0, (batch, heads)).transpose(1, 2)
    return grad_value.to(value.dtype), grad_locations, grad_weights


@_attend_backward.register_fake
def _(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor,
      grad_output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(value), torch.empty_like(locations), torch.empty_like(weights)


def _slices(value: Tensor, locations: Tensor) -> list[slice]:
    """Slices of the queries, whose sampled values are at most SAMPLED elements."""
    batch, queries, heads, levels, points, _ = locations.shape
    step = max(1, SAMPLED // max(1, batch * heads * levels * points * value.shape[3]))
    return [slice(start, start + step) for start in range(0, queries, step)]


def psamask_forward(input: Tensor, output: Tensor, psa_type: int, num_: int, h_feature: int, w_feature: int,
                    h_mask: int, w_mask: int, half_h_mask: int, half_w_mask: int) -> None:
    """Fill `output` (N, HW, H, W) with the weights of each two places (https://hszhao.github.io/papers/eccv18_psanet.pdf).

    `input` (N, h_mask · w_mask, H, W) holds for each place a mask of weights around it; places beyond the mask get 0.
    `psa_type` 0 collects: `output[n, to, from]` is the weight, in the mask at `from`, of `to`. 1 distributes: the two
    change places.
    """
    rows, columns = _steps(h_feature, input), _steps(w_feature, input)
    found = _looked_up(input.flatten(2), rows[:, None] - rows + half_h_mask, columns[:, None] - columns + half_w_mask,
                       h_mask, w_mask)
    output[:] = (found.transpose(1, 2) if psa_type else found).reshape(output.shape)


def psamask_backward(grad_output: Tensor, grad_input: Tensor, psa_type: int, num_: int, h_feature: int, w_feature: int,
                     h_mask: int, w_mask: int, half_h_mask: int, half_w_mask: int) -> None:
    """Fill `grad_input`."""
    grad = grad_output.flatten(2)
    down, right = _steps(h_mask, grad) - half_h_mask, _steps(w_mask, grad) - half_w_mask
    found = _looked_up(grad.transpose(1, 2) if psa_type else grad, down[:, None] + _steps(h_feature, grad),
                       right[:, None] + _steps(w_feature, grad), h_feature, w_feature)
    grad_input[:] = found.view(grad_input.shape)


def _steps(count: int, like: Tensor) -> Tensor:
    return torch.arange(count, device=like.device)


def _looked_up(table: Tensor, rows: Tensor, columns: Tensor, height: int, width: int) -> Tensor:
    """(N, AB, HW) from a table (N, height · width, HW): its entries at rows (A, H) and columns (B, W); 0 outside."""
    rows, columns = rows[:, None, :, None], columns[:, None]
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    entry = rows.clamp(0, height - 1) * width + columns.clamp(0, width - 1)
    entry, inside = (index.flatten(2).flatten(0, 1) for index in (entry, inside))
    return table.gather(1, entry.expand(len(table), -1, -1)) * inside
