"""Box decoding, non-maximum suppression and RoI pooling as tensor operations of fixed size, which ONNX has.

Boxes that mmdet drops with boolean indices stay in place here with a score of 0, so every shape is known when the graph
is exported and the batch size may stay symbolic. Boxes are ``x1, y1, x2, y2`` in pixels.
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from mmdet.models.task_modules.coders import DeltaXYWHBBoxCoder, DistancePointBBoxCoder
from torch import Tensor
from torchvision.ops import nms, roi_align

from ..errors import ConfigError

MAX_LOG_RATIO = abs(math.log(16 / 1000))  # mmdet's limit on how much a box may grow or shrink


@torch.library.custom_op('mmvision_mamba::nms_mask', mutates_args=())
def nms_mask(boxes: Tensor, scores: Tensor, iou_threshold: float, max_per_class: int) -> Tensor:
    """Non-maximum suppression as a mask of the boxes kept; in a graph, ONNX's NonMaxSuppression and ScatterND.

    Args:
        boxes: ``(N, K, 4)``.
        scores: ``(N, C, K)``; each of the C classes is suppressed by itself, without boxes that score 0 or less.
        iou_threshold: a box that overlaps a better one of its class by more is dropped.
        max_per_class: most boxes to keep of each class.

    Returns:
        ``(N, C, K)`` of the scores' type: 1 where kept, else 0.
    """
    kept = torch.zeros_like(scores)
    for n, c in scores.gt(0).any(-1).nonzero().tolist():
        candidates = scores[n, c].gt(0).nonzero()[:, 0]
        chosen = nms(boxes[n, candidates], scores[n, c, candidates], iou_threshold)[:max_per_class]
        kept[n, c, candidates[chosen]] = 1
    return kept


@nms_mask.register_fake
def _(boxes, scores, iou_threshold, max_per_class):
    return torch.empty_like(scores)


def _onnx_nms_mask(graph, boxes, scores, iou_threshold, max_per_class):
    def constant(value, dtype):
        return graph.op('Constant', value_t=torch.tensor(value, dtype=dtype))
    as_float = dict(to_i=1)
    chosen = graph.op('NonMaxSuppression', boxes, scores, max_per_class, graph.op('Cast', iou_threshold, **as_float),
                      constant([0.], torch.float32))
    count = graph.op('Slice', graph.op('Shape', chosen), *(constant(n, torch.int64) for n in ([0], [1], [0])))
    zeros = graph.op('Expand', constant([0.], torch.float32), graph.op('Shape', scores))
    kept = graph.op('ScatterND', zeros, chosen, graph.op('Expand', constant([1.], torch.float32), count))
    kept.setType(scores.type())
    return kept


torch.onnx.register_custom_op_symbolic('mmvision_mamba::nms_mask', _onnx_nms_mask, 16)


def nms_settings(cfg, where: str) -> tuple[float, bool]:
    """(IoU threshold, whether classes are suppressed together) of a test_cfg's `nms`.

    Raises:
        ConfigError: another suppression than plain NMS.
    """
    nms_cfg = dict(cfg.get('nms') or {})
    kind = nms_cfg.pop('type', 'nms')
    iou = nms_cfg.pop('iou_threshold', nms_cfg.pop('iou_thr', None))
    agnostic = nms_cfg.pop('class_agnostic', False)
    nms_cfg.pop('split_thr', None)  # how mmcv saves memory; the result is the same
    if kind != 'nms' or iou is None or nms_cfg:
        unknown = f' with {", ".join(sorted(nms_cfg))}' if nms_cfg else ''
        unknown += '' if iou is not None else ', no iou_threshold'
        raise ConfigError(f"{where}.nms: ONNX's NonMaxSuppression does type='nms' with an iou_threshold, and "
                          f'class_agnostic; got type={kind!r}{unknown}')
    return float(iou), bool(agnostic)


def decode(coder, priors: Tensor, deltas: Tensor, size: Tensor) -> Tensor:
    """Boxes ``(B, …, 4)`` from a head's regression outputs, decoded as mmdet's coder of that kind does it.

    Args:
        coder: a DeltaXYWHBBoxCoder or DistancePointBBoxCoder (see `check_coder`).
        priors: ``(B, …, 4)`` boxes or, for distances, ``(B, …, 2)`` points.
        deltas: ``(B, …, 4)``.
        size: ``(B, 2)`` height and width that boxes are clipped to, if the coder clips.
    """
    if isinstance(coder, DistancePointBBoxCoder):
        corners = priors - deltas[..., :2], priors + deltas[..., 2:]
    else:
        deltas = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
        centre, extent = (priors[..., :2] + priors[..., 2:]) * 0.5, priors[..., 2:] - priors[..., :2]
        shift, log_scale = extent * deltas[..., :2], deltas[..., 2:]
        if coder.add_ctr_clamp:
            shift, log_scale = shift.clamp(-coder.ctr_clamp, coder.ctr_clamp), log_scale.clamp(max=MAX_LOG_RATIO)
        else:
            log_scale = log_scale.clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO)
        centre, half = centre + shift, extent * log_scale.exp() * 0.5
        corners = centre - half, centre + half
    if coder.clip_border:
        limit = size.flip(-1).to(deltas).reshape(-1, *[1] * (deltas.dim() - 2), 2)
        corners = tuple(torch.minimum(corner.clamp(min=0), limit) for corner in corners)
    return torch.cat(corners, -1)


def check_coder(coder, where: str) -> None:
    """Raises ConfigError for a box coder that `decode` does not know."""
    known = DeltaXYWHBBoxCoder, DistancePointBBoxCoder
    if type(coder) not in known:
        raise ConfigError(f'{where}.bbox_coder: {type(coder).__name__} can not be exported; supported: '
                          + ', '.join(kind.__name__ for kind in known))


def drop_small(boxes: Tensor, scores: Tensor, min_size: float) -> Tensor:
    """`scores` with 0 for boxes with a side of `min_size` pixels or less; unchanged where `min_size` is negative."""
    if min_size < 0:
        return scores
    return scores * ((boxes[..., 2:] - boxes[..., :2]) > min_size).all(-1).to(scores)


def suppress(boxes: Tensor, scores: Tensor, iou: float, max_per_img: int, agnostic: bool = False,
             ) -> tuple[Tensor, Tensor, Tensor]:
    """The best boxes of each image after NMS within each class, best first.

    Args:
        boxes: ``(B, K, 4)``, or ``(B, C, K, 4)`` where each class has boxes of its own.
        scores: ``(B, C, K)``; a box that scores 0 is no candidate.
        iou: a box that overlaps a better one by more is dropped.
        max_per_img: most boxes to keep of an image.
        agnostic: boxes also suppress those of other classes; each of the K then has one class at most. Default: False.

    Returns:
        boxes ``(B, M, 4)``, scores ``(B, M)`` and classes ``(B, M)``, M = max_per_img or as many as there can be; where
        fewer are left, the rest scores 0, and its boxes and classes mean nothing.
    """
    classes, count = map(int, scores.shape[1:])
    if boxes.dim() == 4:
        if agnostic:
            raise ConfigError('class_agnostic NMS of class-specific boxes can not be exported')
        kept = nms_mask(boxes.flatten(0, 1), scores.reshape(-1, 1, count), iou, max_per_img)
        kept = kept.reshape(-1, classes, count)
    elif agnostic:
        kept = nms_mask(boxes, scores.amax(1, keepdim=True), iou, max_per_img)
    else:
        kept = nms_mask(boxes, scores, iou, max_per_img)
    best, index = (scores * kept).flatten(1).topk(min(max_per_img, classes * count))
    box_index = index if boxes.dim() == 4 else index % count
    boxes = (boxes.flatten(1, 2) if boxes.dim() == 4 else boxes).gather(1, box_index.unsqueeze(-1).expand(-1, -1, 4))
    return boxes, best, index // count


def pool(features: Sequence[Tensor], boxes: Tensor, layers, finest_scale: int) -> Tensor:
    """RoIAlign of each box on the pyramid level that fits its size, as in mmdet's SingleRoIExtractor.

    Every level pools every box, but boxes of other levels are moved off the map, where RoIAlign gives 0: the sum over
    the levels is the value of the right one. A box off the map costs next to nothing, for it has no sampling points.

    Args:
        features: maps ``(B, C, H_l, W_l)``.
        boxes: ``(B, M, 4)``.
        layers: the extractor's RoIAlign layers.
        finest_scale: side below which boxes belong to the first level.

    Returns:
        pooled features ``(B · M, C, out, out)``.
    """
    images = torch.arange(boxes.shape[0], device=boxes.device).to(boxes.dtype).view(-1, 1, 1).expand_as(boxes[..., :1])
    extent = boxes[..., 2:] - boxes[..., :2]
    level = torch.log2(extent.prod(-1).sqrt() / finest_scale + 1e-6).floor().clamp(0, len(features) - 1)
    pooled = 0
    for i, (feature, layer) in enumerate(zip(features, layers)):
        level_boxes = torch.where((level == i).unsqueeze(-1), boxes, -1e6)
        rois = torch.cat([images, level_boxes], -1).flatten(0, 1)
        pooled = pooled + roi_align(feature, rois, layer.output_size, layer.spatial_scale, layer.sampling_ratio,
                                    layer.aligned)
    return pooled
