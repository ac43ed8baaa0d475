"""Preprocessing of an image and postprocessing of instances as tensor operations, for exports that take the image."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .whole_numbers import least, positions, quotient, ratio, scaled, whole


class Preprocess(nn.Module):
    """Resize, normalise and pad one image of any size to the one shape that the model takes.

    Resizing is bilinear between pixel centres without smoothing, in the fixed-point arithmetic of OpenCV's default: the
    same pixels, bit for bit. It gathers rows and columns at computed positions, without a resize operator, so that only
    the image's own shape is symbolic.

    Args:
        shape: height and width that the model takes; no image gets larger.
        mean, std: per channel of the input.
        channel_order: 'RGB' or 'BGR', the order of an input of 3 channels. Default: 'RGB'.
        scale, keep_ratio, scale_factor, interpolation, to_float32, pad, batch_pad: see `pipeline.pipeline_settings` and
            the metadata in `runtime/standalone.py`; `interpolation` is 'bilinear'. Default: images as they are.
        bands: not used: an image has those that the model takes.

    Returns:
        forward: an image ``(h, w, C)`` uint8, RGB if it has 3 channels -> the model's input ``(1, C, H, W)`` float32;
        height and width of the image in it, with the test pipeline's padding, ``(1, 2)`` int64; and without.
    """

    def __init__(self, shape: Sequence[int], mean: Sequence[float], std: Sequence[float], channel_order: str = 'RGB',
                 scale: Sequence[int] | None = None, keep_ratio: bool = True,
                 scale_factor: Sequence[float] | None = None, interpolation: str = 'bilinear',
                 to_float32: bool = False, pad: dict | None = None, batch_pad: dict | None = None,
                 bands: dict | None = None):
        super().__init__()
        if interpolation != 'bilinear':
            raise ConfigError(f"--with-preprocess resizes with interpolation='bilinear', and the test pipeline with "
                              f'{interpolation!r}: export without it, and the runtime does so')
        self.shape, self.scale, self.keep_ratio, self.channel_order = tuple(shape), scale, keep_ratio, channel_order
        self.scale_factor, self.to_float32, self.pad = scale_factor, to_float32, pad
        self.fill = (batch_pad or {}).get('value', 0.)
        self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32))
        self.register_buffer('std', torch.tensor(std, dtype=torch.float32))
        if pad:
            self.register_buffer('padding', torch.tensor(pad['value'], dtype=torch.float32))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        old_size = [whole(side) for side in image.shape[:2]]
        new_size = self.resized(*old_size)
        x = image.to(torch.float32 if self.to_float32 else torch.int32)
        for axis in (1, 0):  # columns first, as OpenCV
            low, high, weight = taps(old_size[axis], new_size[axis], self.shape[axis], clamped=axis == 1)
            weight = weight.view(-1, *[1] * (2 - axis))
            start, end = x.index_select(axis, low), x.index_select(axis, high)
            if self.to_float32:
                x = start * (1 - weight) + end * weight
                continue
            a, b = ((w * 2048).round().to(torch.int32) for w in (1 - weight, weight))
            if axis == 1:
                x = start * a + end * b
            else:
                x = quotient(quotient(quotient(start, 16) * a, 65536) + quotient(quotient(end, 16) * b, 65536) + 2, 4)
        x = x.to(torch.float32)
        if self.channel_order == 'BGR' and x.shape[-1] == 3:
            x = x.flip(-1)
        size = new_size
        if self.pad:
            size = self.padded(*new_size)
            x = torch.where(self._inside(new_size), x, self.padding)
        x = (x - self.mean) / self.std
        x = torch.where(self._inside(size), x, self.fill)
        size, new_size = (torch.cat(tuple(sides)).unsqueeze(0) for sides in (size, new_size))
        return x.permute(2, 0, 1).unsqueeze(0), size, new_size

    def _inside(self, size: Sequence[Tensor]) -> Tensor:
        rows, columns = (torch.arange(side, device=n.device) < n for side, n in zip(self.shape, size))
        return (rows[:, None] & columns).unsqueeze(-1)

    def resized(self, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """Height and width after the resize, as the config's Resize computes them."""
        scale = self.scale
        if self.scale_factor is not None:
            scale = [scaled(side, ratio(factor)) for side, factor in zip((width, height), self.scale_factor)]
        elif scale is not None:
            scale = [whole(side) for side in scale]
        limit = [whole(side) for side in self.shape]
        if not self.keep_ratio:
            return tuple(map(torch.minimum, (height, width) if scale is None else scale[::-1], limit))
        by = (torch.ones_like(height), torch.ones_like(height))
        if scale is not None:
            by = least((torch.maximum(*scale), torch.maximum(height, width)),
                       (torch.minimum(*scale), torch.minimum(height, width)))
        smaller = least(by, least((limit[0], height), (limit[1], width)))
        sizes = [[scaled(side, factor).clamp(min=1) for side in (height, width)] for factor in (by, smaller)]
        fits = (sizes[0][0] <= limit[0]) & (sizes[0][1] <= limit[1])
        return tuple(torch.where(fits, *pair) for pair in zip(*sizes))

    def padded(self, height: Tensor, width: Tensor) -> tuple[Tensor, ...]:
        """Height and width after the test pipeline's Pad, at most the model's."""
        sides = [height, width]
        if self.pad['square']:
            sides = [torch.maximum(height, width)] * 2
        if self.pad['size']:
            sides = [side.clamp(min=low) for side, low in zip(sides, self.pad['size'])]
        divisor = self.pad['divisor'] or 1
        return tuple((quotient(side + divisor - 1, divisor) * divisor).clamp(max=most)
                     for side, most in zip(sides, self.shape))


def taps(old: Tensor, new: Tensor, count: int, clamped: bool) -> tuple[Tensor, Tensor, Tensor]:
    """For `count` positions on an axis resized from `old` to `new`: both neighbours, and the weight of the second.

    Beyond the border a single pixel has all the weight if `clamped`; else it is both neighbours.
    """
    position = positions(old, new, count)
    last = (old - 1).to(torch.float32)
    low = position.floor()
    weight = position - low
    if clamped:
        weight = torch.where((low < 0) | (low >= last), 0., weight)
        low = low.clamp(min=0)
    low, high = (torch.minimum(side.clamp(min=0), last).to(torch.int64) for side in (low, low + 1))
    return low, high, weight


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
    """A detector that takes the image itself, RGB ``(h, w, 3)`` uint8, and returns results in pixels of that image.

    In parts as `Images`.

    Args:
        preprocess: prepares the image.
        detector: a `features.FeatureGraph`, whose `placed` says what is returned.
    """

    def __init__(self, preprocess: Preprocess, detector: nn.Module):
        super().__init__()
        self.preprocess, self.detector = preprocess, detector
        self.network_takes_sizes, self.finish_takes = len(detector.inputs) > 1, detector.placed_by

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        images, size, resized = self.preprocess(image)
        found = self.network(images, *[size] * self.network_takes_sizes)
        return self.finish(image, dict(size=size, resized=resized)[self.finish_takes], *found)

    def network(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """What the detector finds in prepared images ``(B, C, H, W)``, if it takes them of sizes ``(B, 2)``."""
        return self.detector.found(*inputs)

    def finish(self, image: Tensor, size: Tensor, *found: Tensor) -> tuple[Tensor, ...]:
        """What is found in one image ``(h, w, C)``, in pixels of it, of what `network` found."""
        return self.detector.placed(found, size, self.preprocess.shape, image.shape[:2])
