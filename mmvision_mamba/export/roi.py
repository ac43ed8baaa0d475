"""Instances predicted by the box and mask heads of mmdet's two-stage detectors, in a form that can be exported."""
from __future__ import annotations

from collections.abc import Sequence

from mmcv.ops import RoIAlign
from mmdet.models.roi_heads import CascadeRoIHead, StandardRoIHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.roi_heads.roi_extractors import SingleRoIExtractor
from torch import Tensor, nn

from ..errors import ConfigError
from .boxes import check_coder, decode, nms_settings, pool, suppress

ROI_HEAD_METHODS = 'predict', 'predict_bbox', 'predict_mask', '_bbox_forward', '_mask_forward'
SUPPORTED = 'StandardRoIHead', 'CascadeRoIHead'


def check_roi_head(head: nn.Module) -> None:
    """Raises ConfigError for a RoI head with a part that `predict_boxes` and `predict_masks` do not follow."""
    name = type(head).__name__
    base = next((kind for kind in (CascadeRoIHead, StandardRoIHead) if isinstance(head, kind)), None)
    same = base is not None and all(
        getattr(type(head), method) is getattr(base, method) for method in ROI_HEAD_METHODS)
    if not same or head.with_shared_head:
        shared = ' with a shared head' if same else ''
        raise ConfigError(f'--part detector: {name}{shared} can not be exported; RoI heads that can: '
                          f'{", ".join(SUPPORTED)}')
    for box_head in _stages(head.bbox_head):
        kind = type(box_head)
        # mmdet 3.3.0 has no seam here: its prediction for one image is a private method, which subclasses change.
        if not isinstance(box_head, BBoxHead) or kind._predict_by_feat_single is not BBoxHead._predict_by_feat_single \
                or kind.regress_by_class is not BBoxHead.regress_by_class:
            raise ConfigError(f'{name}: box head {kind.__name__} can not be exported; supported: BBoxHead, '
                              'ConvFCBBoxHead, Shared2FCBBoxHead, Shared4Conv1FCBBoxHead')
        if not (box_head.with_reg and box_head.with_cls) or box_head.custom_activation:
            raise ConfigError(f'{name}: {kind.__name__} needs both branches and a softmax over classes to be exported')
        check_coder(box_head.bbox_coder, kind.__name__)
    for mask_head in _stages(head.mask_head) if head.with_mask else ():
        if type(mask_head) is not FCNMaskHead:
            raise ConfigError(f'{name}: mask head {type(mask_head).__name__} can not be exported; supported: '
                              'FCNMaskHead')
    extractors = [*_stages(head.bbox_roi_extractor), *(_stages(head.mask_roi_extractor) if head.with_mask else ())]
    for extractor in extractors:
        layers = extractor.roi_layers
        if type(extractor) is not SingleRoIExtractor or not all(
                isinstance(layer, RoIAlign) and layer.pool_mode == 'avg' for layer in layers):
            raise ConfigError(f'{name}: {type(extractor).__name__} of {type(layers[0]).__name__} can not be exported; '
                              'supported: SingleRoIExtractor of RoIAlign, pool_mode avg')
    nms_settings(head.test_cfg, f'{name}.test_cfg')


def predict_boxes(head: nn.Module, features: Sequence[Tensor], proposals: Tensor, valid: Tensor, size: Tensor,
                  ) -> tuple[Tensor, Tensor, Tensor]:
    """The boxes, scores and classes of `head.predict_bbox`, with boxes in pixels of the model's input.

    Args:
        head: see `check_roi_head`.
        features: the neck's maps.
        proposals: ``(B, P, 4)``.
        valid: ``(B, P)`` bool, False for proposals that only fill the list up.
        size: ``(B, 2)`` height and width of the images without padding.

    Returns:
        boxes, scores and classes of the best, see `boxes.suppress`.
    """
    boxes, stages, logits, count = proposals, _stages(head.bbox_head), [], int(proposals.shape[1])
    for stage, (box_head, extractor) in enumerate(zip(stages, _stages(head.bbox_roi_extractor))):
        pooled = pool(features[:extractor.num_inputs], boxes, extractor.roi_layers, extractor.finest_scale)
        cls_score, deltas = box_head(pooled)
        logits.append(cls_score.reshape(-1, count, cls_score.shape[1]))
        deltas = deltas.reshape(-1, count, int(deltas.shape[1]) // 4, 4)  # for one class, or for each
        if stage < len(stages) - 1:
            if not box_head.reg_class_agnostic:
                best = logits[-1][..., :-1].argmax(-1)[..., None, None].expand(-1, -1, 1, 4)
                deltas = deltas.gather(2, best)
            boxes = decode(box_head.bbox_coder, boxes, deltas[:, :, 0], size)
    boxes = decode(box_head.bbox_coder, boxes.unsqueeze(2).expand_as(deltas), deltas, size)
    cfg = head.test_cfg
    scores = (sum(logits) / len(logits)).softmax(-1)[..., :-1] * valid.unsqueeze(-1).to(boxes)
    scores = (scores * (scores > cfg.score_thr).to(scores)).transpose(1, 2)
    boxes = boxes[:, :, 0] if box_head.reg_class_agnostic else boxes.transpose(1, 2)
    iou, agnostic = nms_settings(cfg, type(head).__name__)
    return suppress(boxes, scores, iou, cfg.max_per_img, agnostic)


def predict_masks(head: nn.Module, features: Sequence[Tensor], boxes: Tensor, classes: Tensor) -> Tensor:
    """Mask probabilities within each box, averaged over the cascade's stages: ``(B, M, side, side)``."""
    masks = 0
    stages = _stages(head.mask_head)
    for mask_head, extractor in zip(stages, _stages(head.mask_roi_extractor)):
        pooled = pool(features[:extractor.num_inputs], boxes, extractor.roi_layers, extractor.finest_scale)
        masks = masks + mask_head(pooled).sigmoid()
    masks = (masks / len(stages)).reshape(-1, int(boxes.shape[1]), *masks.shape[1:])
    if mask_head.class_agnostic:
        return masks[:, :, 0]
    channel = classes[..., None, None, None].expand(-1, -1, 1, *masks.shape[3:])
    return masks.gather(2, channel)[:, :, 0]


def _stages(parts: nn.Module) -> Sequence[nn.Module]:
    """The heads or extractors of each stage of a cascade; a single one where there is no cascade."""
    return parts if isinstance(parts, nn.ModuleList) else [parts]
