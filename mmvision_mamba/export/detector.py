"""mmdet's detectors as one function of tensors, which can be exported: images in; boxes, scores, labels, masks out."""
from __future__ import annotations

from mmdet.models.detectors import SingleStageDetector, TwoStageDetector
from torch import Tensor, nn

from ..errors import ConfigError
from .dense import SUPPORTED as DENSE_HEADS
from .dense import check_dense_head, predict_dense
from .graph_modules import graph_copy
from .roi import SUPPORTED as ROI_HEADS
from .roi import check_roi_head, predict_boxes, predict_masks
from .wrappers import halve


class DetectorGraph(nn.Module):
    """A detector's `predict` in tensor operations of fixed size, for export; it runs in PyTorch too.

    Instances come best first; where an image has fewer than the config's `max_per_img`, the rest has label -1, score 0
    and a box of zeros.

    Args:
        model: mmdet's SingleStageDetector or TwoStageDetector, in eval mode, with heads as in `dense.SUPPORTED` and
            `roi.SUPPORTED`. It stays as it is: the graph is made of a copy, whose backbone is fused.

    Returns:
        forward: normalised images ``(B, 3, H, W)``, padded right and below, and their sizes without that padding,
        ``(B, 2)`` int64 height and width -> boxes ``(B, M, 4)`` as x1, y1, x2, y2 in pixels of the input, scores
        ``(B, M)``, labels ``(B, M)`` int64 and, with a mask head, mask probabilities within the box
        ``(B, M, side, side)``.

    Raises:
        ConfigError: a detector, head or setting that can't be exported; names those that can.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        base = next((kind for kind in (TwoStageDetector, SingleStageDetector) if isinstance(model, kind)), None)
        if base is None or type(model).predict is not base.predict or type(model).extract_feat is not base.extract_feat:
            head = getattr(model, 'bbox_head', None) or getattr(model, 'mask_head', None)
            head_name = f' (head: {type(head).__name__})' if head is not None else ''
            raise ConfigError(
                f'--part detector: {type(model).__name__}{head_name} can not be exported; detectors that can: '
                f'two-stage ones with {" or ".join(ROI_HEADS)}; single-stage ones with {", ".join(DENSE_HEADS)}')
        if base is TwoStageDetector:
            if not (model.with_rpn and model.with_roi_head):
                raise ConfigError(f'{type(model).__name__} without an RPN or RoI head can not be exported')
            check_dense_head(model.rpn_head)
            check_roi_head(model.roi_head)
        else:
            check_dense_head(model.bbox_head)
        self.model = graph_copy(model)

    def half_backbone(self):
        """Convert backbone and neck to float16, but for the scan's parameters; returns self."""
        for part in (self.model.backbone, *([self.model.neck] if self.model.with_neck else [])):
            halve(part)
        return self

    @property
    def two_stage(self) -> bool:
        return isinstance(self.model, TwoStageDetector)

    @property
    def output_names(self) -> list[str]:
        masks = self.two_stage and self.model.roi_head.with_mask
        return ['boxes', 'scores', 'labels', *(['masks'] if masks else [])]

    def forward(self, image: Tensor, image_size: Tensor) -> tuple[Tensor, ...]:
        model = self.model
        # Heads compute in float32, in which boxes are exact, whatever the backbone does.
        dtype = next(model.backbone.parameters()).dtype
        features = [feature.float() for feature in model.extract_feat(image.to(dtype))]
        masks = ()
        if self.two_stage:
            boxes, scores, _ = predict_dense(model.rpn_head, features, image_size)
            boxes, scores, labels = predict_boxes(model.roi_head, features, boxes, scores > 0, image_size)
        else:
            boxes, scores, labels = predict_dense(model.bbox_head, features, image_size)
        valid = scores > 0
        boxes = boxes * valid.unsqueeze(-1).to(boxes)
        if 'masks' in self.output_names:
            masks = predict_masks(model.roi_head, features, boxes, labels),
        return boxes, scores, labels.where(valid, -1), *masks


def mask_threshold(model: nn.Module) -> float:
    """The mask probability from which a pixel belongs to an instance, as the detector's config has it; default 0.5."""
    cfg = model.test_cfg.get('rcnn') or {}
    return float(cfg.get('mask_thr_binary', 0.5))
