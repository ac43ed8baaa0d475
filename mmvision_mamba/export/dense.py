"""Boxes predicted by mmdet's dense heads (RPN, RetinaNet, FCOS, ATSS, RTMDet …), in a form that can be exported."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads import GFLHead, RPNHead
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from torch import Tensor, nn

from ..errors import ConfigError
from .boxes import check_coder, decode, drop_small, nms_settings, suppress

# A head can be exported if it has these methods from BaseDenseHead, or from GFLHead or RPNHead.
METHODS = 'predict', 'predict_by_feat', '_predict_by_feat_single', '_bbox_post_process'
# mmdet's heads of that kind; DDODHead with use_dcn=False, for deformable convolutions have no standard operator.
SUPPORTED = ('RetinaHead', 'FCOSHead', 'ATSSHead', 'RTMDetHead', 'RTMDetSepBNHead', 'GFLHead', 'FreeAnchorRetinaHead',
             'AutoAssignHead', 'DDODHead', 'YOLOFHead')


def check_dense_head(head: nn.Module) -> None:
    """Raises ConfigError for a head that predicts in a way of its own, or whose settings have no ONNX operator."""
    name = type(head).__name__
    base = next((kind for kind in (RPNHead, GFLHead, BaseDenseHead) if isinstance(head, kind)), None)
    if base is None or any(getattr(type(head), method) is not getattr(base, method) for method in METHODS):
        raise ConfigError(f'--part detector: {name} can not be exported; dense heads that can: '
                          f'{", ".join(SUPPORTED)}, and other subclasses of BaseDenseHead that predict as it does')
    if getattr(getattr(head, 'loss_cls', None), 'custom_cls_channels', False):
        raise ConfigError(f'{name}: the activation of {type(head.loss_cls).__name__} can not be exported')
    check_coder(head.bbox_coder, name)
    nms_settings(head.test_cfg, f'{name}.test_cfg')


def predict_dense(head: nn.Module, features: Sequence[Tensor], size: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The boxes, scores and classes of `head.predict`, with boxes in pixels of the model's input.

    Args:
        head: see `check_dense_head`.
        features: the neck's maps.
        size: ``(B, 2)`` height and width of the images without padding.

    Returns:
        boxes, scores and classes of the M best, see `suppress`; the RPN has one class.
    """
    cfg, rpn = head.test_cfg, isinstance(head, RPNHead)
    maps = head(features)
    scores, boxes, classes = [], [], []
    for level, (cls_score, bbox_pred, *factor) in enumerate(zip(*maps)):
        level_scores, index = _best(_scores(head, cls_score), 0 if rpn else cfg.get('score_thr', 0),
                                    cfg.get('nms_pre', -1))
        num_classes = 1 if rpn else head.num_classes
        anchor = index // num_classes if num_classes > 1 else index
        shape, count = [*map(int, cls_score.shape[2:])], int(index.shape[1])  # constants in a graph
        priors = head.prior_generator.sparse_priors(anchor.flatten(), shape, level, torch.float32, anchor.device)
        if isinstance(head, GFLHead):  # distances from the anchor's centre, each a distribution over steps of a stride
            priors = head.anchor_center(priors)
            deltas = _take(_flat(bbox_pred, 4 * (head.reg_max + 1)), anchor).flatten(0, 1)
            deltas = head.integral(deltas).reshape(-1, count, 4) * head.prior_generator.strides[level][0]
        else:
            deltas = _take(_flat(bbox_pred, 4), anchor)
        boxes.append(decode(head.bbox_coder, priors.reshape(-1, count, priors.shape[-1]), deltas, size))
        if factor and not rpn:
            level_scores = level_scores * _take(_flat(factor[0], 1), anchor)[..., 0].sigmoid()
        scores.append(level_scores)
        # The RPN suppresses within each level.
        classes.append(torch.full_like(index, level) if rpn else index % num_classes)
    boxes, scores, classes = (torch.cat(parts, 1) for parts in (boxes, scores, classes))
    scores = drop_small(boxes, scores, cfg.get('min_bbox_size', -1))
    count = len(features) if rpn else head.num_classes
    one_hot = classes.unsqueeze(1) == torch.arange(count, device=classes.device).view(1, -1, 1)
    iou, agnostic = nms_settings(cfg, type(head).__name__)
    return suppress(boxes, scores.unsqueeze(1) * one_hot.to(scores), iou, cfg.max_per_img, agnostic)


def _flat(x: Tensor, channels: int) -> Tensor:
    """``(B, A · channels, H, W)`` -> ``(B, H · W · A, channels)``."""
    count = int(x.shape[1]) // channels * int(x.shape[2]) * int(x.shape[3])
    return x.permute(0, 2, 3, 1).reshape(-1, count, channels)


def _take(x: Tensor, index: Tensor) -> Tensor:
    """The rows `index` ``(B, M)`` of each ``(N, channels)`` in ``(B, N, channels)``."""
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def _scores(head: nn.Module, cls_score: Tensor) -> Tensor:
    """Probabilities ``(B, N, C)`` of the classes, without the background."""
    scores = _flat(cls_score, head.cls_out_channels)
    return scores.sigmoid() if head.use_sigmoid_cls else scores.softmax(-1)[..., :-1]


def _best(scores: Tensor, score_thr: float, nms_pre: int) -> tuple[Tensor, Tensor]:
    """The `nms_pre` best of ``(B, N, C)`` scores, 0 where not above `score_thr`, and their positions in ``N · C``."""
    scores = scores.flatten(1)
    if score_thr > 0:
        scores = scores * (scores > score_thr).to(scores)
    count = int(scores.shape[1])
    return scores.topk(min(nms_pre, count) if nms_pre > 0 else count)
