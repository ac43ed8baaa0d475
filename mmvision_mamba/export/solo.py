"""mmdet's SOLOv2 as one function of tensors, which can be exported: an image in; scores, labels and masks out."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from mmdet.models.dense_heads import SOLOV2Head
from mmdet.models.dense_heads.base_mask_head import BaseMaskHead
from mmdet.models.detectors.single_stage_instance_seg import SingleStageInstanceSegmentor
from torch import Tensor, nn

from ..errors import ConfigError
from .features import FeatureGraph, enlarged

_HEAD = dict(forward=SOLOV2Head, predict_by_feat=SOLOV2Head, _predict_by_feat_single=SOLOV2Head, predict=BaseMaskHead)


class SoloGraph(FeatureGraph):
    """The `predict` of mmdet's SOLOv2 for one image, for export; it runs in PyTorch too.

    How many instances there are depends on the image, and so do sizes within the graph: masks are made for those
    alone that score enough. One without a mask that scores 0 goes along, so that no list is empty before the end.

    Args:
        model: in eval mode. It stays as it is.

    Returns:
        forward: boxes ``(1, n, 4)``, which are 0, for mmdet makes none; scores ``(1, n)``, labels ``(1, n)``, best
        first, and probabilities of masks ``(1, n, h, w)``, of the whole input.

    Raises:
        ConfigError: a head that predicts in a way of its own, or whose settings have no operators.
    """
    output_names = placed_names = 'boxes', 'scores', 'labels', 'masks'

    def __init__(self, model: nn.Module):
        _check(model)
        super().__init__(model)
        head = self.model.mask_head
        self.stride = head.mask_stride
        strides = [torch.full((grid * grid,), float(stride)) for grid, stride in zip(head.num_grids, head.strides)]
        self.register_buffer('least', torch.cat(strides))  # area of a mask, in its cells, of each point

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        boxes, scores, labels, masks = self.found(image)
        real = (scores > 0).nonzero()[:, 0]
        return tuple(found[real].unsqueeze(0) for found in (boxes, scores, labels, masks))

    def placed(self, found: Sequence[Tensor], size: Tensor, sides: Sequence[int],
               shape: Sequence[int]) -> tuple[Tensor, ...]:
        """Instances in pixels of an image, their masks ``(n, h, w)`` bool; see `BoxGraph.placed`."""
        boxes, scores, labels, masks = found
        sides = [int(side) * self.stride for side in masks.shape[1:]]
        masks = enlarged(masks.unsqueeze(0), sides, size, shape) > self.model.mask_head.test_cfg.mask_thr
        real = (scores > 0).nonzero()[:, 0]
        return boxes[real], scores[real], labels[real], masks[real]

    def found(self, image: Tensor) -> tuple[Tensor, ...]:
        """The outputs without a first axis, with an instance that scores 0."""
        head = self.model.mask_head
        cfg = head.test_cfg
        kernels, classes, maps = head(self.features(image))
        scores = torch.cat([_peaks(level.sigmoid()) for level in classes])  # (points, C)
        kernels = torch.cat([level[0].flatten(1).transpose(0, 1) for level in kernels])
        count = int(scores.shape[1])
        index = (scores.flatten() > cfg.score_thr).nonzero()[:, 0]
        index = torch.cat([index.new_zeros(1), index])
        scores = torch.cat([scores.new_zeros(1), scores.flatten()[index[1:]]])
        points, labels = index // count, index % count
        height, width = map(int, maps.shape[2:])
        masks = (kernels[points] @ maps[0].flatten(1)).sigmoid()  # (n, h · w)
        binary = (masks > cfg.mask_thr).to(masks)
        areas = binary.sum(1)
        scores = scores * (masks * binary).sum(1) / areas.clamp(min=1) * (areas > self.least[points]).to(masks)
        scores, order = scores.sort(descending=True)
        if cfg.nms_pre > 0:
            scores, order = scores[:cfg.nms_pre], order[:cfg.nms_pre]
        labels, binary, areas = labels[order], binary[order], areas[order]
        scores = scores * _decay(binary, labels, areas, cfg.kernel, cfg.sigma)
        scores = scores * (scores >= max(cfg.filter_thr, 0)).to(scores)
        scores, best = scores.sort(descending=True)
        if cfg.max_per_img > 0:
            scores, best = scores[:cfg.max_per_img], best[:cfg.max_per_img]
        masks = masks[order[best]].reshape(-1, height, width)
        return scores.unsqueeze(1).expand(-1, 4) * 0, scores, labels[best], masks


def _peaks(scores: Tensor) -> Tensor:
    """Scores ``(1, C, h, w)`` as ``(h · w, C)``, 0 where a neighbour above or to the left has a higher one."""
    highest = F.max_pool2d(scores, 2, stride=1, padding=1)[:, :, :-1, :-1]
    return (scores * (highest == scores).to(scores))[0].flatten(1).transpose(0, 1)


def _decay(masks: Tensor, labels: Tensor, areas: Tensor, kernel: str, sigma: float) -> Tensor:
    """The factors of Matrix NMS ``(n,)`` for masks ``(n, pixels)``, best first, as mmdet's `mask_matrix_nms`."""
    both = masks @ masks.transpose(0, 1)
    overlap = both / (areas.unsqueeze(0) + areas.unsqueeze(1) - both).clamp(min=1)
    place = torch.ones_like(labels).cumsum(0)
    counted = (labels.unsqueeze(0) == labels.unsqueeze(1)) & (place.unsqueeze(1) < place.unsqueeze(0))
    overlap = overlap * counted.to(overlap)
    before = overlap.amax(0).unsqueeze(1)  # of each with those that score higher
    if kernel == 'gaussian':
        return ((-sigma * overlap ** 2).exp() / (-sigma * before ** 2).exp()).amin(0)
    return ((1 - overlap) / (1 - before)).amin(0)


def _check(model: nn.Module) -> None:
    name, head = type(model).__name__, model.mask_head
    same = type(model).predict is SingleStageInstanceSegmentor.predict and not model.with_bbox
    if not (same and isinstance(head, SOLOV2Head)) or any(
            getattr(type(head), method) is not getattr(kind, method) for method, kind in _HEAD.items()):
        raise ConfigError(f'--part detector: {name} (head: {type(head).__name__}) can not be exported; of the '
                          'detectors that predict masks without boxes SOLOv2 can')
    if head.with_dcn or head.dynamic_conv_size != 1 or head.test_cfg.kernel not in ('gaussian', 'linear'):
        raise ConfigError(f'{type(head).__name__}: it can be exported with dcn_cfg=None, for deformable convolutions '
                          'have no standard operator, with dynamic_conv_size=1, and with test_cfg.kernel gaussian or '
                          'linear')
