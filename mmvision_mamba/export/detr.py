"""Deformable DETR and DINO as one function of tensors, which can be exported: images in; boxes, scores, labels out."""
from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import DeformableDETRHead, DETRHead
from mmdet.models.detectors import DINO, DeformableDETR
from mmdet.models.layers.transformer import (
    DeformableDetrTransformerDecoder,
    DeformableDetrTransformerEncoder,
    DinoTransformerDecoder,
    inverse_sigmoid,
)
from mmdet.structures.bbox import bbox_cxcywh_to_xyxy
from torch import Tensor, nn

from ..errors import ConfigError
from ..ops.operators import graph_size
from .deformable import Sizes, centres, constant, pair, use_graph_attention
from .features import BoxGraph

SUPPORTED = 'DeformableDETR', 'DINO'
_DETECTOR = ('predict', 'extract_feat', 'forward_transformer', 'pre_transformer', 'forward_encoder', 'pre_decoder',
             'forward_decoder', 'gen_encoder_output_proposals')
_HEAD = dict(forward=DeformableDETRHead, predict=DeformableDETRHead, predict_by_feat=DeformableDETRHead,
             _predict_by_feat_single=DETRHead)


class TransformerGraph(BoxGraph):
    """The `predict` of mmdet's DeformableDETR or DINO, for export; it runs in PyTorch too.

    Args:
        model: in eval mode. It stays as it is.

    Returns:
        forward: as `detector.DetectorGraph`: boxes ``(B, M, 4)``, scores ``(B, M)`` and labels ``(B, M)``, best first,
        M = `max_per_img`.

    Raises:
        ConfigError: a detector or head that predicts in a way of its own.
    """
    any_size = True

    def __init__(self, model: nn.Module):
        _check(model)
        super().__init__(model)
        use_graph_attention(self.model)
        # mmdet 3.3.0 has no seam here: it reads the maps' sizes from a tensor, which a trace can't follow.
        self.model.gen_encoder_output_proposals = partial(_proposals, self.model)

    @property
    def chooses(self) -> bool:
        """Whether the model chooses its queries among the pixels of its maps, by their scores."""
        return bool(self.model.as_two_stage)

    def check_shape(self, shape: tuple[int, int], channels: int) -> None:
        """Raises ConfigError where images of this height and width have fewer tokens than the model has queries."""
        model = self.model
        if not model.as_two_stage:
            return
        with torch.no_grad():
            maps = model.extract_feat(torch.zeros(1, channels, *shape))
        tokens = sum(level.shape[2] * level.shape[3] for level in maps)
        if tokens < model.num_queries:
            raise ConfigError(f'--shape {shape[0]} {shape[1]}: {type(model).__name__} chooses its {model.num_queries} '
                              f'queries among the pixels of its maps, and images of this size have {tokens}: use a '
                              'larger one')

    def forward(self, image: Tensor, image_size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        model, head = self.model, self.model.bbox_head
        features = self.features(image)
        sizes = [tuple(map(graph_size, feature.shape[2:])) for feature in features]
        sides = tuple(map(graph_size, image.shape[2:]))
        masks = [_padding(image_size, sides, size) for size in sizes]
        positions = [model.positional_encoding(mask) + model.level_embed[level].view(1, -1, 1, 1)
                     for level, mask in enumerate(masks)]
        ratios = torch.stack([model.get_valid_ratio(mask) for mask in masks], 1)
        mask = torch.cat([level.flatten(1) for level in masks], 1)
        tokens, positions = (torch.cat([level.flatten(2).transpose(1, 2) for level in maps], 1)
                             for maps in (features, positions))
        memory = _encode(model.encoder, tokens, positions, mask, sizes, ratios)
        inputs, _ = model.pre_decoder(memory, mask, sizes)
        found = model.forward_decoder(**inputs, memory_mask=mask, spatial_shapes=sizes, level_start_index=None,
                                      valid_ratios=ratios)
        last = len(model.decoder.layers) - 1
        hidden, reference = found['hidden_states'][-1], inverse_sigmoid(found['references'][last])
        shift = head.reg_branches[last](hidden)
        if reference.shape[-1] == 2:
            reference = F.pad(reference, (0, 2))
        return self._best(head.cls_branches[last](hidden), (shift + reference).sigmoid(), image_size)

    def _best(self, logits: Tensor, boxes: Tensor, size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As mmdet's `_predict_by_feat_single`: of each image the best of all pairs of a query and a class."""
        head = self.model.bbox_head
        most = (head.test_cfg or {}).get('max_per_img', self.model.num_queries)
        if head.loss_cls.use_sigmoid:
            scores, index = logits.sigmoid().flatten(1).topk(most)
            labels, query = index % head.num_classes, index // head.num_classes
        else:
            scores, labels = logits.softmax(-1)[..., :-1].max(-1)
            scores, query = scores.topk(most)
            labels = labels.gather(1, query)
        boxes = bbox_cxcywh_to_xyxy(boxes.gather(1, query.unsqueeze(-1).expand(-1, -1, 4)))
        limit = size.flip(-1).repeat(1, 2).unsqueeze(1).to(boxes)  # width, height, twice
        return torch.minimum((boxes * limit).clamp(min=0), limit), scores, labels


def _check(model: nn.Module) -> None:
    name, head = type(model).__name__, model.bbox_head
    base = next((kind for kind in (DINO, DeformableDETR) if isinstance(model, kind)), None)
    if base is None or any(getattr(type(model), method) is not getattr(base, method) for method in _DETECTOR):
        raise ConfigError(f'--part detector: {name} (head: {type(head).__name__}) can not be exported; of the '
                          f'detectors with a transformer {" and ".join(SUPPORTED)} can')
    decoder = DinoTransformerDecoder if base is DINO else DeformableDetrTransformerDecoder
    for part, kind, methods in ((head, None, _HEAD), (model.decoder, decoder, ['forward']),
                                (model.encoder, DeformableDetrTransformerEncoder, ['forward'])):
        for method in methods:
            if getattr(type(part), method) is not getattr(kind or _HEAD[method], method):
                raise ConfigError(f'--part detector: {name} with {type(part).__name__} can not be exported: it has a '
                                  f'{method} of its own')


def _padding(size: Tensor, sides: Sequence[int | Tensor], cells: Sequence[int | Tensor]) -> Tensor:
    """Which cells of a map ``(B, h, w)`` are padding, for images of `size` in an input of these `sides`."""
    outside = []
    for axis, (side, count) in enumerate(zip(sides, cells)):
        pixels = torch.arange(side, dtype=torch.float32, device=size.device).view(1, 1, -1)
        nearest = constant(F.interpolate(pixels, size=(count,))[0])
        outside.append(nearest >= size[:, axis:axis + 1])
    return outside[0].unsqueeze(2) | outside[1].unsqueeze(1)


def _encode(encoder: nn.Module, tokens: Tensor, positions: Tensor, mask: Tensor, sizes: Sizes,
            ratios: Tensor) -> Tensor:
    points = torch.cat([centres(*size, tokens).unsqueeze(0) / ratios[:, level:level + 1]
                        for level, size in enumerate(sizes)], 1)
    points = points.unsqueeze(2) * ratios.unsqueeze(1)  # (B, tokens, levels, 2)
    for layer in encoder.layers:
        tokens = layer(query=tokens, query_pos=positions, key_padding_mask=mask, spatial_shapes=sizes,
                       level_start_index=None, valid_ratios=ratios, reference_points=points)
    return tokens


def _proposals(model: nn.Module, memory: Tensor, memory_mask: Tensor, spatial_shapes: Sizes) -> tuple[Tensor, Tensor]:
    """As mmdet's `gen_encoder_output_proposals`, of maps whose sizes are numbers."""
    proposals, start = [], 0
    for level, (height, width) in enumerate(spatial_shapes):
        real = ~memory_mask[:, start:start + height * width].reshape(-1, height, width)
        start = start + height * width
        extent = torch.stack([real[:, 0].sum(-1), real[:, :, 0].sum(-1)], -1).to(memory).unsqueeze(1)
        cells = centres(height, width, memory) * pair(width, height, memory)
        centre = cells / extent
        proposals.append(torch.cat([centre, torch.full_like(centre, 0.05 * 2. ** level)], -1))
    boxes = torch.cat(proposals, 1)
    inside = ((boxes > 0.01) & (boxes < 0.99)).sum(-1, keepdim=True) == 4
    usable = inside & ~memory_mask.unsqueeze(-1)
    memory = model.memory_trans_norm(model.memory_trans_fc(memory.masked_fill(~usable, 0.)))
    return memory, torch.log(boxes / (1 - boxes)).masked_fill(~usable, torch.inf)
