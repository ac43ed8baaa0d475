"""Preprocessing of an image and postprocessing of instances as tensor operations, for exports that take the image."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..backbones.family import MEAN, STD
from ..text import class_name


class Preprocess(nn.Module):
    """Resize, normalise and pad one image of any size to the one shape that the model takes.

    Resizing is bilinear between pixel centres without smoothing, rounded to whole values, as OpenCV's default is. It
    gathers rows and columns at computed positions, without a resize operator, so that only the image's own shape is
    symbolic.

    Args:
        shape: height and width that the model takes.
        mean, std: per channel, on the scale 0 to 255.
        channel_order: 'RGB' or 'BGR', the order that the model takes. Default: 'RGB'.
        scale, keep_ratio: the config's Resize, as `pipeline_settings` reads it; no image gets larger than `shape`.
        pad_value: value of the padding on the scale 0 to 255. Default: one that is 0 once normalised.

    Returns:
        forward: an RGB image ``(h, w, 3)`` uint8 -> the model's input ``(1, 3, H, W)`` float32, and the height and
        width of the resized image in it, ``(1, 2)`` int64.
    """

    def __init__(self, shape: Sequence[int], mean: Sequence[float], std: Sequence[float], channel_order: str = 'RGB',
                 scale: Sequence[int] | None = None, keep_ratio: bool = True, pad_value: float | None = None):
        super().__init__()
        self.shape, self.scale, self.keep_ratio, self.channel_order = tuple(shape), scale, keep_ratio, channel_order
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32))
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32))
        self.register_buffer('padding', torch.zeros(3) if pad_value is None else (pad_value - self.mean) / self.std)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        old_size = [torch.as_tensor(side, dtype=torch.float64) for side in image.shape[:2]]
        new_size = self.resized(*old_size)
        x = image.to(torch.float32)
        for axis in range(2):
            low, high, weight = taps(old_size[axis], new_size[axis], self.shape[axis])
            weight = weight.view(-1, *[1] * (2 - axis))
            x = x.index_select(axis, low) * (1 - weight) + x.index_select(axis, high) * weight
        x = x.round()
        if self.channel_order == 'BGR':
            x = x.flip(-1)
        x = (x - self.mean) / self.std
        rows, columns = (torch.arange(side, device=x.device) < n for side, n in zip(self.shape, new_size))
        x = torch.where((rows[:, None] & columns).unsqueeze(-1), x, self.padding)
        return x.permute(2, 0, 1).unsqueeze(0), torch.stack(new_size).to(torch.int64).unsqueeze(0)

    def resized(self, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Height and width after the resize, in double precision like the config's Resize, which computes in Python."""
        if not self.keep_ratio:
            target = self.shape if self.scale is None else self.scale[::-1]
            return tuple(torch.full_like(height, min(pair)) for pair in zip(target, self.shape))
        ratio = torch.minimum(self.shape[0] / height, self.shape[1] / width)
        if self.scale is not None:
            longer, shorter = torch.maximum(height, width), torch.minimum(height, width)
            ratio = torch.minimum(ratio, torch.minimum(max(self.scale) / longer, min(self.scale) / shorter))
        return tuple((side * ratio + 0.5).floor().clamp(min=1) for side in (height, width))


def taps(old: Tensor, new: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """For `count` positions on an axis resized from `old` to `new`: both neighbours, and the weight of the second."""
    position = (torch.arange(count, dtype=torch.float32, device=old.device) + 0.5) * (old / new).to(torch.float32) - 0.5
    last = (old - 1).to(torch.float32)
    position = torch.minimum(position.clamp(min=0), last)
    low = position.floor()
    return low.to(torch.int64), torch.minimum(low + 1, last).to(torch.int64), position - low


def paste(masks: Tensor, boxes: Tensor, height: Tensor | int, width: Tensor | int) -> Tensor:
    """Place each box's mask on the image, bilinearly, 0 outside the box, as two matrix products.

    Args:
        masks: ``(n, side, side)``.
        boxes: ``(n, 4)`` in pixels of the image.
        height, width: of the image.

    Returns:
        mask values ``(n, height, width)``.
    """
    def weights(start, end, count):
        cells = masks.shape[-1]
        position = torch.arange(count, dtype=torch.float32, device=boxes.device) + 0.5
        position = (position - start.unsqueeze(-1)) / (end - start).clamp(min=1e-6).unsqueeze(-1) * cells - 0.5
        return (1 - (position.unsqueeze(-1) - torch.arange(cells, device=boxes.device)).abs()).clamp(min=0)
    x1, y1, x2, y2 = boxes.unbind(-1)
    return weights(y1, y2, height) @ masks @ weights(x1, x2, width).transpose(1, 2)


class ImageDetector(nn.Module):
    """A detector that takes the image itself and returns instances in pixels of that image.

    Args:
        preprocess: prepares the image.
        detector: a `DetectorGraph`.
        mask_threshold: probability from which a pixel belongs to an instance. Default: 0.5.

    Returns:
        forward: an RGB image ``(h, w, 3)`` uint8 -> boxes ``(n, 4)``, scores ``(n,)``, labels ``(n,)`` and, with a mask
        head, masks ``(n, h, w)`` bool, best first.
    """

    def __init__(self, preprocess: Preprocess, detector: nn.Module, mask_threshold: float = 0.5):
        super().__init__()
        self.preprocess, self.detector, self.mask_threshold = preprocess, detector, mask_threshold
        self.output_names = detector.output_names

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x, size = self.preprocess(image)
        boxes, scores, labels, *masks = (out[0] for out in self.detector(x, size))
        valid = (labels >= 0).nonzero()[:, 0]
        old_size = torch.stack([torch.as_tensor(side) for side in (image.shape[1], image.shape[0])])
        boxes = boxes[valid] / (size[0].flip(0).to(boxes) / old_size.to(boxes)).repeat(2)
        masks = [paste(mask[valid], boxes, *image.shape[:2]) >= self.mask_threshold for mask in masks]
        return boxes, scores[valid], labels[valid], *masks


def pipeline_settings(cfg) -> dict:
    """The arguments of `Preprocess`, except for the shape, from a config's test pipeline and data preprocessor.

    A data preprocessor without mean and std leaves pixels from 0 to 255; a model without one, a classifier, takes
    images as timm's transforms make them.
    """
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or dict(
        mean=MEAN, std=STD, bgr_to_rgb=True)
    pipeline = (cfg.get('test_dataloader') or {}).get('dataset', {}).get('pipeline') or cfg.get('test_pipeline') or []
    resize = next((t for t in pipeline if class_name(t['type']) == 'Resize'), {})
    pad = next((t for t in pipeline if class_name(t['type']) == 'Pad'), {})
    pad_value = pad.get('pad_val')
    if isinstance(pad_value, dict):
        pad_value = pad_value.get('img')
    if isinstance(pad_value, Sequence):
        pad_value = pad_value[0]
    # Images are read as BGR.
    order = 'RGB' if preprocessor.get('bgr_to_rgb') else 'BGR'
    return dict(mean=list(preprocessor.get('mean') or [0.] * 3), std=list(preprocessor.get('std') or [1.] * 3),
                channel_order=order,
                scale=list(resize['scale']) if resize.get('scale') else None,
                keep_ratio=resize.get('keep_ratio', False) if resize else True,
                pad_value=pad_value)
