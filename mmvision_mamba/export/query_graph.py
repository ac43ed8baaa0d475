"""mmdet's Mask2Former as a function of tensors, which can be exported: images in; classes and masks of queries out."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.evaluation.functional import INSTANCE_OFFSET
from mmdet.models.detectors import MaskFormer
from mmdet.models.seg_heads.panoptic_fusion_heads import MaskFormerFusionHead
from torch import Tensor, nn

from ..errors import ConfigError
from .features import FeatureGraph, enlarged
from .query_masks import check_mask_head, predict_queries, use_graph_pixel_decoder

_FUSION = 'predict', 'panoptic_postprocess', 'instance_postprocess'


class QueryGraph(FeatureGraph):
    """A Mask2Former of mmdet: what its queries are, and where; instances and panoptic maps are made of these.

    Args:
        model: in eval mode. It stays as it is.

    Attributes:
        queries: how they are made: `instances`, how many at most, or None; `things`, the number of classes of which
            there are instances; `panoptic`, or None: the `score` that a segment has at least, the share of its mask
            that must be left to it (`overlap`), and whether pixels that it is not sure of are left out (`sure`).

    Returns:
        forward: probabilities of each query's classes and of none, ``(B, Q, C + 1)``, and the logits of its mask,
        ``(B, Q, h, w)``, of the whole input.

    Raises:
        ConfigError: a detector or head that predicts in a way of its own, or no results.
    """
    output_names = 'class_scores', 'masks'
    any_size = True

    def __init__(self, model: nn.Module):
        _check(model)
        super().__init__(model)
        use_graph_pixel_decoder(self.model.panoptic_head)
        self.queries = query_settings(model)

    @property
    def placed_names(self) -> tuple[str, ...]:
        instances = ('boxes', 'scores', 'labels', 'masks') if self.queries['instances'] else ()
        return (*instances, *(['panoptic'] if self.queries['panoptic'] else []))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        classes, masks = predict_queries(self.model.panoptic_head, self.features(image))
        return classes.softmax(-1), masks

    def placed(self, found: Sequence[Tensor], size: Tensor, sides: Sequence[int],
               shape: Sequence[int]) -> tuple[Tensor, ...]:
        """Results in pixels of an image, as mmdet's fusion head makes them; see `BoxGraph.placed`.

        Returns:
            boxes ``(n, 4)``, scores ``(n,)``, labels ``(n,)`` and masks ``(n, h, w)`` bool, best first; and ids
            ``(h, w)``, label + 1000 · number of the instance; those of `placed_names`.
        """
        (classes,), masks = found
        masks = enlarged(masks, sides, size, shape)
        return (*(self._instances(classes, masks) if self.queries['instances'] else ()),
                *([self._panoptic(classes, masks.sigmoid())] if self.queries['panoptic'] else []))

    def _instances(self, classes: Tensor, masks: Tensor) -> tuple[Tensor, ...]:
        count = int(classes.shape[1]) - 1
        scores, index = classes[:, :-1].flatten().topk(self.queries['instances'])
        labels, query = index % count, index // count
        binary = masks > 0
        inside = binary.to(masks)
        sure = (masks.sigmoid() * inside).sum((1, 2)) / (inside.sum((1, 2)) + 1e-6)
        scores, order = (scores * sure[query]).sort(descending=True)
        labels, query = labels[order], query[order]
        if self.queries['things'] < count:
            things = (labels < self.queries['things']).nonzero()[:, 0]
            scores, labels, query = scores[things], labels[things], query[things]
        binary = binary[query]
        return mask_boxes(binary), scores, labels, binary

    def _panoptic(self, classes: Tensor, masks: Tensor) -> Tensor:
        settings, count = self.queries['panoptic'], int(classes.shape[1]) - 1
        scores, labels = classes.max(-1)
        kept = (labels != count) & (scores > settings['score'])
        best = (masks * (scores * kept.to(scores)).view(-1, 1, 1)).argmax(0)
        sure = masks >= 0.5
        owned = best == torch.arange(len(classes), device=best.device).view(-1, 1, 1)
        areas, whole = owned.to(masks).sum((1, 2)), sure.to(masks).sum((1, 2))
        kept = kept & (areas > 0) & (whole > 0) & ~(areas / whole.clamp(min=1) < settings['overlap'])
        things = kept & (labels < self.queries['things'])
        numbers = things.to(labels).cumsum(0) * things.to(labels)
        ids = torch.where(kept, labels + numbers * INSTANCE_OFFSET, count)
        if settings['sure']:
            owned = owned & sure
            return torch.where(owned.any(0), ids[best], count)
        return ids[best]


def mask_boxes(masks: Tensor) -> Tensor:
    """The boxes ``(n, 4)`` around masks ``(n, h, w)``, 0 where a mask is empty: as mmdet's `mask2bbox`."""
    sides = []
    for axis in (1, 2):  # columns, rows
        inside = masks.to(torch.float32).amax(axis)
        places = torch.arange(inside.shape[1], dtype=torch.float32, device=masks.device)
        end = (inside * (places + 1)).amax(1)
        start = torch.where(inside > 0, places, torch.as_tensor(inside.shape[1], dtype=torch.float32)).amin(1)
        sides += [torch.minimum(start, end), end]
    return torch.stack([sides[0], sides[2], sides[1], sides[3]], 1)


def query_settings(model: nn.Module) -> dict:
    """What `QueryGraph.queries` is, of the fusion head's settings."""
    fusion = model.panoptic_fusion_head
    test = fusion.test_cfg or {}
    panoptic = dict(score=float(test.get('object_mask_thr', 0.8)), overlap=float(test.get('iou_thr', 0.8)),
                    sure=bool(test.get('filter_low_score', False))) if test.get('panoptic_on', True) else None
    instances = int(test.get('max_per_image', 100)) if test.get('instance_on', False) else None
    return dict(instances=instances, things=fusion.num_things_classes, panoptic=panoptic)


def _check(model: nn.Module) -> None:
    name, fusion = type(model).__name__, model.panoptic_fusion_head
    if any(getattr(type(model), method) is not getattr(MaskFormer, method) for method in ('predict', 'extract_feat')):
        raise ConfigError(f'--part detector: {name} can not be exported: it predicts in a way of its own')
    check_mask_head(model.panoptic_head, 'detector')
    if not isinstance(fusion, MaskFormerFusionHead) or any(
            getattr(type(fusion), method) is not getattr(MaskFormerFusionHead, method) for method in _FUSION):
        raise ConfigError(f'--part detector: {name} with {type(fusion).__name__} can not be exported; with '
                          'MaskFormerFusionHead it can')
    settings = query_settings(model)
    if (fusion.test_cfg or {}).get('semantic_on') or not (settings['instances'] or settings['panoptic']):
        raise ConfigError(f'--part detector: {name} is exported with model.test_cfg.panoptic_on or instance_on, and '
                          'without semantic_on, which mmdet does not have')
