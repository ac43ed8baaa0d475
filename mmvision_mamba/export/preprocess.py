"""What happens to an image before and after the model, as tensor operations: for exports that take images whole."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..visualization.backbone_maps import MEAN, STD


class Preprocess(nn.Module):
    """Resize, normalise and pad one image, whatever its size, to the one shape the model takes.

    Bilinear between pixel centres without smoothing, rounded to whole values, which is what OpenCV's default does. No
    resize operator: rows and columns are gathered at computed places, so that only the image's own shape is free.

    Args:
        shape: height and width the model takes.
        mean, std: per channel, on the scale 0 to 255.
        channel_order: 'RGB' or 'BGR', what the model takes.
        scale, keep_ratio: the config's Resize, as `pipeline_settings` reads it; no image gets larger than `shape`.
        pad_value: value of the padding on the scale 0 to 255. Default: what becomes 0.

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
        old = [torch.as_tensor(side, dtype=torch.float64) for side in image.shape[:2]]
        new = self.resized(*old)
        x = image.to(torch.float32)
        for axis in range(2):
            low, high, weight = taps(old[axis], new[axis], self.shape[axis])
            weight = weight.view(-1, *[1] * (2 - axis))
            x = x.index_select(axis, low) * (1 - weight) + x.index_select(axis, high) * weight
        x = x.round()
        if self.channel_order == 'BGR':
            x = x.flip(-1)
        x = (x - self.mean) / self.std
        rows, columns = (torch.arange(side, device=x.device) < n for side, n in zip(self.shape, new))
        x = torch.where((rows[:, None] & columns).unsqueeze(-1), x, self.padding)
        return x.permute(2, 0, 1).unsqueeze(0), torch.stack(new).to(torch.int64).unsqueeze(0)

    def resized(self, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """The size the image gets, double precision as in the config's own Resize, which computes in Python."""
        if not self.keep_ratio:
            wanted = self.shape if self.scale is None else self.scale[::-1]
            return tuple(torch.full_like(height, min(pair)) for pair in zip(wanted, self.shape))
        ratio = torch.minimum(self.shape[0] / height, self.shape[1] / width)
        if self.scale is not None:
            longer, shorter = torch.maximum(height, width), torch.minimum(height, width)
            ratio = torch.minimum(ratio, torch.minimum(max(self.scale) / longer, min(self.scale) / shorter))
        return tuple((side * ratio + 0.5).floor().clamp(min=1) for side in (height, width))


def taps(old: Tensor, new: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each of `count` places on an axis resized from `old` to `new`: the two neighbours and the second's weight."""
    at = (torch.arange(count, dtype=torch.float32, device=old.device) + 0.5) * (old / new).to(torch.float32) - 0.5
    last = (old - 1).to(torch.float32)
    at = torch.minimum(at.clamp(min=0), last)
    low = at.floor()
    return low.to(torch.int64), torch.minimum(low + 1, last).to(torch.int64), at - low


def paste(masks: Tensor, boxes: Tensor, height: Tensor | int, width: Tensor | int) -> Tensor:
    """Masks within their boxes, on the image: bilinear, 0 outside, as two matrix products.

    Args:
        masks: ``(n, side, side)``.
        boxes: ``(n, 4)`` in pixels of the image.
        height, width: of the image.

    Returns:
        ``(n, height, width)``.
    """
    def weights(start, end, count):
        cells = masks.shape[-1]
        at = torch.arange(count, dtype=torch.float32, device=boxes.device) + 0.5
        at = (at - start.unsqueeze(-1)) / (end - start).clamp(min=1e-6).unsqueeze(-1) * cells - 0.5
        return (1 - (at.unsqueeze(-1) - torch.arange(cells, device=boxes.device)).abs()).clamp(min=0)
    x1, y1, x2, y2 = boxes.unbind(-1)
    return weights(y1, y2, height) @ masks @ weights(x1, x2, width).transpose(1, 2)


class ImageDetector(nn.Module):
    """An image as it is in, instances in its own pixels out.

    Args:
        preprocess: what the image gets.
        detector: a `DetectorGraph`.
        mask_threshold: probability from which a pixel belongs to an instance.

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
        found = (labels >= 0).nonzero()[:, 0]
        old = torch.stack([torch.as_tensor(side) for side in (image.shape[1], image.shape[0])])
        boxes = boxes[found] / (size[0].flip(0).to(boxes) / old.to(boxes)).repeat(2)
        masks = [paste(mask[found], boxes, *image.shape[:2]) >= self.mask_threshold for mask in masks]
        return boxes, scores[found], labels[found], *masks


def pipeline_settings(cfg) -> dict:
    """How a config's test pipeline and data preprocessor treat images: arguments of `Preprocess` without the shape.

    A data preprocessor without mean and std leaves pixels from 0 to 255; a model without one, a classifier, takes what
    timm's transforms give.
    """
    preprocessor = cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or dict(
        mean=MEAN, std=STD, bgr_to_rgb=True)
    pipeline = (cfg.get('test_dataloader') or {}).get('dataset', {}).get('pipeline') or cfg.get('test_pipeline') or []
    resize = next((t for t in pipeline if t['type'].split('.')[-1] == 'Resize'), {})
    pad = next((t for t in pipeline if t['type'].split('.')[-1] == 'Pad'), {})
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
