"""Mask2Former's head as a function of tensors, which can be exported: maps in; classes and masks of queries out."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import Mask2FormerHead
from mmdet.models.layers import MSDeformAttnPixelDecoder
from torch import Tensor, nn

from ..errors import ConfigError
from ..ops.operators import graph_size
from .deformable import centres, constant, use_graph_attention

_HEAD = 'forward', '_forward_head'


def check_mask_head(head: nn.Module, part: str) -> None:
    """Raises ConfigError for a head that computes otherwise than mmdet's `Mask2FormerHead`.

    Args:
        head: mmdet's or mmseg's head.
        part: of the model, for the message.
    """
    name = type(head).__name__
    if not isinstance(head, Mask2FormerHead) or any(
            getattr(type(head), method) is not getattr(Mask2FormerHead, method) for method in _HEAD):
        raise ConfigError(f'--part {part}: {name} can not be exported; of the heads that predict masks of queries '
                          'Mask2FormerHead can')
    decoder = type(head.pixel_decoder)
    if decoder.forward is not MSDeformAttnPixelDecoder.forward:
        raise ConfigError(f'--part {part}: {name} with the pixel decoder {decoder.__name__} can not be exported; with '
                          'MSDeformAttnPixelDecoder it can')


def use_graph_pixel_decoder(head: nn.Module) -> None:
    """Replace the head's pixel decoder and its attention, in place, by those of a graph; see `check_mask_head`."""
    use_graph_attention(head)
    head.pixel_decoder = GraphPixelDecoder(head.pixel_decoder)
    head.decoder_positional_encoding = GraphEncoding(head.decoder_positional_encoding)


class GraphEncoding(nn.Module):
    """A position encoding of maps without padding, whose masks ``(B, h, w)`` say their size alone: ``(1, C, h, w)``."""

    def __init__(self, encoding: nn.Module):
        super().__init__()
        self.encoding = encoding

    def forward(self, mask: Tensor) -> Tensor:
        return position_encoding(self.encoding, mask.unsqueeze(1))


class GraphPixelDecoder(nn.Module):
    """`MSDeformAttnPixelDecoder` with sizes of maps that are numbers, or symbols in a graph of any size."""

    def __init__(self, decoder: MSDeformAttnPixelDecoder):
        super().__init__()
        self.decoder = decoder

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Feature maps ``(B, C_i, h_i, w_i)`` -> the mask features ``(B, C, h, w)``; maps, the smallest first."""
        decoder = self.decoder
        levels = features[::-1][:decoder.num_encoder_levels]  # the smallest first
        sizes = [tuple(map(graph_size, level.shape[2:])) for level in levels]
        queries, positions, references = [], [], []
        for i, (level, size) in enumerate(zip(levels, sizes)):
            queries.append(decoder.input_convs[i](level).flatten(2).transpose(1, 2))
            position = position_encoding(decoder.postional_encoding, level)
            positions.append((position + decoder.level_encoding.weight[i].view(1, -1, 1, 1)).flatten(2).transpose(1, 2))
            references.append(centres(*size, level))
        reference = torch.cat(references).unsqueeze(0).unsqueeze(2).expand(-1, -1, len(levels), -1)
        memory = decoder.encoder(
            query=torch.cat(queries, 1), query_pos=torch.cat(positions, 1), key_padding_mask=None,
            spatial_shapes=sizes, reference_points=reference, level_start_index=None, valid_ratios=None)
        maps, start = [], 0
        for height, width in sizes:
            part = memory[:, start:start + height * width].transpose(1, 2)
            maps.append(part.reshape(-1, decoder.encoder.embed_dims, height, width))
            start = start + height * width
        for i in reversed(range(len(features) - len(levels))):
            lateral = decoder.lateral_convs[i](features[i])
            top = F.interpolate(maps[-1], size=lateral.shape[2:], mode='bilinear', align_corners=False)
            maps.append(decoder.output_convs[i](lateral + top))
        return decoder.mask_feature(maps[-1]), maps[:decoder.num_outs]


def position_encoding(encoding: nn.Module, feature: Tensor) -> Tensor:
    """mmdet's position encoding for a map without padding, ``(1, C, h, w)``; a constant where its size is one."""
    height, width = map(graph_size, feature.shape[2:])
    return constant(encoding(None, input=feature[:1, :, :height, :width]))


def predict_queries(head: nn.Module, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """What the last layer of a head finds.

    Args:
        head: with `use_graph_pixel_decoder`.
        features: the neck's or the backbone's maps.

    Returns:
        logits of classes and of none ``(B, Q, C + 1)``; of masks ``(B, Q, h, w)``, as small as the head makes them.
    """
    classes, masks = head(features, [])
    return classes[-1], masks[-1]
