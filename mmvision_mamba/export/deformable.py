"""Multi-scale deformable attention in the operators of a graph: mmcv's, with its samples by `grid_sample`."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmcv.ops import MultiScaleDeformableAttention
from torch import Tensor, nn

from ..ops.operators import dynamic, graph_size
from .graph_modules import replace_modules

Sizes = Sequence[tuple[int | Tensor, int | Tensor]]  # height and width of each level; tensors where a graph has any


def use_graph_attention(model: nn.Module) -> None:
    """Replace each `MultiScaleDeformableAttention` of `model`, in place, by a `GraphDeformableAttention`."""
    replace_modules(model, {MultiScaleDeformableAttention: GraphDeformableAttention})


class GraphDeformableAttention(nn.Module):
    """`MultiScaleDeformableAttention` in eval mode, whose levels' sizes are numbers instead of a tensor's values.

    mmcv's own reads them from a tensor, which a trace can't follow.
    """

    def __init__(self, attention: MultiScaleDeformableAttention):
        super().__init__()
        self.num_heads, self.num_points, self.num_levels = (
            attention.num_heads, attention.num_points, attention.num_levels)
        self.embed_dims, self.batch_first = attention.embed_dims, attention.batch_first
        self.sampling_offsets, self.attention_weights = attention.sampling_offsets, attention.attention_weights
        self.value_proj, self.output_proj = attention.value_proj, attention.output_proj

    def forward(self, query: Tensor, key: Tensor | None = None, value: Tensor | None = None,
                identity: Tensor | None = None, query_pos: Tensor | None = None,
                key_padding_mask: Tensor | None = None, reference_points: Tensor | None = None,
                spatial_shapes: Sizes = (), **kwargs) -> Tensor:
        """As mmcv's, but for `spatial_shapes`: a height and width for each level."""
        identity = query if identity is None else identity
        value = query if value is None else value
        query = query if query_pos is None else query + query_pos
        if not self.batch_first:
            query, value = query.transpose(0, 1), value.transpose(0, 1)
        value = self.value_proj(value)
        if key_padding_mask is not None:
            value = value.masked_fill(key_padding_mask.unsqueeze(-1), 0.)
        heads, levels, points = self.num_heads, self.num_levels, self.num_points
        queries, channels = graph_size(query.shape[1]), int(value.shape[-1])
        offsets = self.sampling_offsets(query).reshape(-1, queries, heads, levels, points, 2)
        weights = self.attention_weights(query).reshape(-1, queries, heads, levels * points).softmax(-1)
        weights = weights.reshape(-1, queries, heads, levels, points)
        output, start = 0, 0
        for level, (height, width) in enumerate(spatial_shapes):
            reference = reference_points[:, :, level, None, None]
            if reference_points.shape[-1] == 2:
                shift = offsets[:, :, :, level] / pair(width, height, offsets)
            else:
                shift = offsets[:, :, :, level] / points * reference[..., 2:] * 0.5
            grid = (reference[..., :2] + shift) * 2 - 1  # (B, queries, heads, points, 2)
            level_value = value[:, start:start + height * width].transpose(1, 2)
            sampled = F.grid_sample(level_value.reshape(-1, channels // heads, height, width),
                                    grid.transpose(1, 2).reshape(-1, queries, points, 2), mode='bilinear',
                                    padding_mode='zeros', align_corners=False)
            level_weights = weights[:, :, :, level].transpose(1, 2).reshape(-1, 1, queries, points)
            output = output + (sampled * level_weights).sum(-1)  # (B · heads, channels // heads, queries)
            start = start + height * width
        output = self.output_proj(output.reshape(-1, channels, queries).transpose(1, 2))
        return (output if self.batch_first else output.transpose(0, 1)) + identity


def centres(height: int | Tensor, width: int | Tensor, like: Tensor) -> Tensor:
    """The centres of a map's cells, x and y from 0 to 1, row by row: ``(height · width, 2)``."""
    rows, columns = ((torch.arange(side, dtype=like.dtype, device=like.device) + 0.5) / side
                     for side in (height, width))
    grid = torch.stack((columns.unsqueeze(0).expand(height, -1), rows.unsqueeze(1).expand(-1, width)), -1)
    return constant(grid.flatten(0, 1))


def constant(values: Tensor) -> Tensor:
    """The values as a constant of a graph, unless it takes any size; they may not depend on its inputs."""
    return values if dynamic() else torch.from_numpy(values.detach().cpu().numpy())


def pair(width: int | Tensor, height: int | Tensor, like: Tensor) -> Tensor:
    """Both sides of a map as a tensor ``(2,)``."""
    return torch.stack([torch.as_tensor(side, dtype=like.dtype, device=like.device) for side in (width, height)])
