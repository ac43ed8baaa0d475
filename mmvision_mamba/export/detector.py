"""mmdet's detectors as one function of tensors, which can be exported: images in; boxes, scores, labels, masks out."""
from __future__ import annotations

from mmdet.models.detectors import (
    DetectionTransformer,
    MaskFormer,
    SingleStageDetector,
    SOLOv2,
    TwoStageDetector,
)
from torch import Tensor, nn

from ..errors import ConfigError
from .dense import SUPPORTED as DENSE_HEADS
from .dense import check_dense_head, predict_dense
from .features import BoxGraph, FeatureGraph
from .roi import SUPPORTED as ROI_HEADS
from .roi import check_roi_head, predict_boxes, predict_masks

OTHERS = 'DeformableDETR', 'DINO', 'Mask2Former', 'SOLOv2'  # detectors with graphs of their own


class DetectorGraph(BoxGraph):
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
    int8 = True

    def __init__(self, model: nn.Module):
        base = next((kind for kind in (TwoStageDetector, SingleStageDetector) if isinstance(model, kind)), None)
        if base is None or type(model).predict is not base.predict or type(model).extract_feat is not base.extract_feat:
            head = getattr(model, 'bbox_head', None) or getattr(model, 'mask_head', None)
            head_name = f' (head: {type(head).__name__})' if head is not None else ''
            raise ConfigError(
                f'--part detector: {type(model).__name__}{head_name} can not be exported; detectors that can: '
                f'two-stage ones with {" or ".join(ROI_HEADS)}; single-stage ones with {", ".join(DENSE_HEADS)}; '
                f'{", ".join(OTHERS)}')
        if base is TwoStageDetector:
            if not (model.with_rpn and model.with_roi_head):
                raise ConfigError(f'{type(model).__name__} without an RPN or RoI head can not be exported')
            check_dense_head(model.rpn_head)
            check_roi_head(model.roi_head)
        else:
            check_dense_head(model.bbox_head)
        super().__init__(model)

    @property
    def two_stage(self) -> bool:
        return isinstance(self.model, TwoStageDetector)

    @property
    def output_names(self) -> tuple[str, ...]:
        masks = self.two_stage and self.model.roi_head.with_mask
        return (*super().output_names, *(['masks'] if masks else []))

    def forward(self, image: Tensor, image_size: Tensor) -> tuple[Tensor, ...]:
        model = self.model
        features = self.features(image)
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


def detector_graph(model: nn.Module) -> FeatureGraph:
    """The graph of a detector: a `DetectorGraph`, or that of a detector of another kind.

    Raises:
        ConfigError: a detector, head or setting that can't be exported; names those that can.
    """
    if isinstance(model, DetectionTransformer):
        from .detr import TransformerGraph
        return TransformerGraph(model)
    if isinstance(model, MaskFormer):
        from .query_graph import QueryGraph
        return QueryGraph(model)
    if isinstance(model, SOLOv2):
        from .solo import SoloGraph
        return SoloGraph(model)
    return DetectorGraph(model)
