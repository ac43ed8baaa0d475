"""What the graphs of detectors share: features that may compute in float16, and results in pixels of an image."""
from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .graph_modules import graph_copy, halve_features
from .preprocess import paste


class FeatureGraph(nn.Module):
    """A model's copy whose backbone and neck may compute in float16; its heads compute in float32, exact for boxes.

    Args:
        model: mmdet's, in eval mode. It stays as it is.

    Attributes:
        inputs, output_names: of `forward`.
        placed_names: of what `placed` returns. placed_by: which size it takes, 'size' or 'resized' of `Preprocess`.
    """
    inputs: tuple[str, ...] = ('image',)
    placed_by = 'size'
    int8 = False  # whether files of it are made in int8, too
    any_size = False  # whether height and width of the images may be open

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = graph_copy(model)

    def halve(self) -> nn.Module:
        """Convert backbone and neck to float16, but for the scan's parameters; returns self."""
        halve_features(self.model)
        return self

    def found(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What `placed` takes: the outputs, of all instances that there may be."""
        return self(*inputs)

    def features(self, images: Tensor) -> list[Tensor]:
        """The neck's maps, or the backbone's where there is none, float32."""
        dtype = next(self.model.backbone.parameters()).dtype
        return [feature.float() for feature in self.model.extract_feat(images.to(dtype))]


class BoxGraph(FeatureGraph):
    """One whose instances have boxes, and masks within these."""
    inputs, placed_by = ('image', 'image_size'), 'resized'

    @property
    def output_names(self) -> tuple[str, ...]:
        return 'boxes', 'scores', 'labels'

    @property
    def placed_names(self) -> tuple[str, ...]:
        return self.output_names

    def placed(self, found: Sequence[Tensor], size: Tensor, sides: Sequence[int],
               shape: Sequence[int]) -> tuple[Tensor, ...]:
        """Instances in pixels of an image.

        Args:
            found: in the model's input for this one image, by `found`.
            size: its height and width there, ``(1, 2)``: see `placed_by`.
            sides: height and width of that input.
            shape: those of the image.

        Returns:
            boxes ``(n, 4)``, scores ``(n,)``, labels ``(n,)`` and, with a mask head, masks ``(n, h, w)`` bool, best
            first.
        """
        boxes, scores, labels, *masks = (out[0] for out in found)
        valid = (labels >= 0).nonzero()[:, 0]
        old_size = torch.stack([torch.as_tensor(side) for side in (shape[1], shape[0])])
        boxes = boxes[valid] / (size[0].flip(0).to(boxes) / old_size.to(boxes)).repeat(2)
        masks = [paste(mask[valid], boxes, *shape) >= mask_threshold(self.model) for mask in masks]
        return boxes, scores[valid], labels[valid], *masks


def mask_threshold(model: nn.Module) -> float:
    """The mask probability from which a pixel belongs to an instance, as the detector's config has it; default 0.5."""
    cfg = model.test_cfg or {}
    return float((cfg.get('rcnn') or {}).get('mask_thr_binary', cfg.get('mask_thr', 0.5)))


def enlarged(masks: Tensor, sides: Sequence[int], size: Tensor, shape: Sequence[int]) -> Tensor:
    """Masks ``(1, n, h, w)`` of an input of these sides as mmdet resizes them to the image in it: ``(n, *shape)``."""
    masks = F.interpolate(masks, sides, mode='bilinear', align_corners=False)[:, :, :size[0, 0], :size[0, 1]]
    return F.interpolate(masks, shape, mode='bilinear', align_corners=False)[0]
