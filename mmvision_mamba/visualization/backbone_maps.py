"""Maps of what a MambaVision does with an image, on the image's own pixels: attention, scan steps, features."""
from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import nullcontext

import cv2
import numpy as np
import torch
from torch import Tensor

from ..backbones import MambaVision
from ..errors import ConfigError
from .recording import Stage, recording

# Of ImageNet, in RGB: what the published weights were trained with.
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PERCENTILES = (1, 99)  # of a component's values become 0 and 1


class BackboneMaps:
    """What the backbone of a model does with one image; the heads are not run.

    Stages are numbered 1 to 4, as in the paper. Every map has the image's size, whatever it was resized and padded to:
    a pixel gets the value of the position whose cell (stride × stride pixels of the network's input) it lies in.

    Args:
        model: an `Inferencer`, whose test pipeline prepares the image, or a MambaVision, for which it is normalised as
            for ImageNet.
        image: a path, URL, NumPy array in BGR or Pillow image.
        size: (height, width) to resize the image to for a MambaVision. Default: as it is.

    Attributes:
        image: uint8 ``(H, W, 3)``, **RGB**.
        stages: the numbers of the stages there are.

    Raises:
        ConfigError: the model has no MambaVision.
        DataError: the image can't be read, or is smaller than the network takes.
    """

    @torch.no_grad()
    def __init__(self, model, image, size: Sequence[int] | None = None):
        from ..inference.images import from_array, from_pil, read_image
        if isinstance(model, MambaVision):
            if isinstance(image, (str, os.PathLike)):
                bgr = read_image(image)
            else:
                bgr = from_array(image) if isinstance(image, np.ndarray) else from_pil(image)
            x, scale, lock = *_prepare(bgr, size, next(model.parameters()).device), nullcontext()
            backbone = model
        else:
            if size is not None:
                raise ConfigError('size is for a bare MambaVision: a config resizes the image in its test pipeline')
            bgr = model.read(image)
            x, scale = model.preprocess(bgr)
            backbone, lock = find_backbone(model.model), model.lock
        self.image = np.ascontiguousarray(bgr[..., ::-1])
        self._scale = scale
        if backbone.training:
            raise ConfigError('the backbone is in training mode: call eval() first')
        with lock, recording(backbone) as stages:
            backbone(x)
        self._stages: list[Stage] = stages
        self.stages = tuple(range(1, len(stages) + 1))

    def attention(self, stage: int, point: Sequence[float] | None = None, block: int | None = None,
                  head: int | None = None) -> np.ndarray:
        """Self-attention of stage 3 or 4: how much each place is looked at, 1 being an even share.

        Args:
            stage: 3 or 4.
            point: (x, y) in the image's pixels: what that place looks at, 0 outside its window. None: the average over
                all places of each window.
            block: of the stage's self-attention blocks, from 0. None: their mean.
            head: None: the mean of all heads.

        Returns:
            float32 ``(H, W)``. Over a window it averages to 1, less what padding takes with 'zeros'.

        Raises:
            ConfigError: no such stage, block or head, or a point outside the image.
        """
        about = self._stage(stage, windows=True)
        blocks = _choose(about.attention, block, f'self-attention block of stage {stage}')
        heads = slice(None) if head is None else [_index(head, blocks[0].q.shape[1], f'head of stage {stage}')]
        own = about.own_tokens(blocks[0].q.device)
        values = torch.zeros(own.shape, device=own.device)
        if point is None:
            for attention in blocks:
                values += attention.mean(own)[:, heads].mean(1)
        else:
            window, token = about.locate(*self._cell(about, point))
            for attention in blocks:
                values[window] += attention.weights(window, slice(token, token + 1))[heads, 0].mean(0)
        keys = own.shape[1] if blocks[0].mask is None else blocks[0].mask.sum(1, keepdim=True)
        return self._to_image(about, about.to_map(values * keys / len(blocks)))

    def delta(self, stage: int, block: int | None = None) -> np.ndarray:
        """The scan's step Δ in the mixers of stage 3 or 4, averaged over channels: how much of a place is taken in.

        Args:
            stage: 3 or 4.
            block: of the stage's mixers, from 0. None: their mean.

        Returns:
            float32 ``(H, W)``, positive.
        """
        about = self._stage(stage, windows=True)
        blocks = _choose(about.delta, block, f'mixer of stage {stage}')
        return self._to_image(about, about.to_map(torch.stack(blocks).mean(0)))

    def components(self, stage: int) -> np.ndarray:
        """The first three principal components of a stage's output as red, green, blue, float32 ``(H, W, 3)``, 0 to 1.

        A component's sign is that of its largest weight; its 1st and 99th percentile become 0 and 1.
        """
        about = self._stage(stage)
        rows, columns = (int(index.max()) + 1 for index in self._cells(about))  # the rest is padding
        features = about.features[:, :rows, :columns].float()
        points = features.flatten(1).T.double()
        points = points - points.mean(0)
        vectors = torch.linalg.eigh(points.T @ points)[1].flip(1)[:, :3]
        vectors = vectors * vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
        values = points @ vectors
        low, high = (torch.quantile(values, q / 100, dim=0) for q in PERCENTILES)
        values = ((values - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
        return self._to_image(about, values.float().unflatten(0, (rows, columns)))

    def window(self, stage: int, point: Sequence[float]) -> tuple[int, int, int, int]:
        """The window of a point in stage 3 or 4, cut to the image: x1, y1, x2, y2 in pixels, the last two exclusive."""
        about = self._stage(stage, windows=True)
        spans = []
        sides = about.windows.window_height, about.windows.window_width
        for cell, side, cells in zip(self._cell(about, point), sides, self._cells(about)):
            inside = np.flatnonzero(cells // side == cell // side)
            spans.append((int(inside[0]), int(inside[-1]) + 1))
        (y1, y2), (x1, x2) = spans
        return x1, y1, x2, y2

    def _stage(self, stage: int, windows: bool = False) -> Stage:
        valid = self.stages[2:] if windows else self.stages
        if stage not in valid:
            raise ConfigError(f'stage must be one of {", ".join(map(str, valid)) or "none, this backbone is cut off"}, '
                              f'got {stage!r}')
        return self._stages[stage - 1]

    def _cells(self, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
        """For each row and each column of the image, the row or column of the stage's map whose cell it lies in."""
        return tuple(np.minimum((np.arange(n) + 0.5) * scale / stage.stride, length - 1).astype(int)
                     for n, scale, length in zip(self.image.shape[:2], self._scale, stage.features.shape[1:]))

    def _cell(self, stage: Stage, point: Sequence[float]) -> tuple[int, int]:
        x, y = point
        height, width = self.image.shape[:2]
        if not (0 <= x < width and 0 <= y < height):
            raise ConfigError(f'point {x:g} {y:g} lies outside the image of {width} × {height} pixels (width × height)')
        rows, columns = self._cells(stage)
        return int(rows[int(y)]), int(columns[int(x)])

    def _to_image(self, stage: Stage, values: Tensor) -> np.ndarray:
        rows, columns = self._cells(stage)
        return values.float().cpu().numpy()[rows[:, None], columns]


def find_backbone(model: torch.nn.Module) -> MambaVision:
    """The MambaVision within a model; raises ConfigError where there is none."""
    found = next((module for module in model.modules() if isinstance(module, MambaVision)), None)
    if found is None:
        backbone = getattr(model, 'backbone', model)
        raise ConfigError(f'the model has no MambaVision, its backbone is a {type(backbone).__name__}')
    return found


def overlay(image: np.ndarray, values: np.ndarray, low: float = 0., opacity: float = 0.7,
            colours: str = 'inferno') -> np.ndarray:
    """`values` ``(H, W)`` as colours, from `low` to the maximum, over the RGB `image` in grey: uint8 ``(H, W, 3)``."""
    from matplotlib import colormaps
    heat = colormaps[colours]((values - low) / max(values.max() - low, 1e-12))[..., :3] * 255
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    return ((1 - opacity) * grey + opacity * heat).round().astype(np.uint8)


def _prepare(image: np.ndarray, size, device) -> tuple[Tensor, tuple[float, float]]:
    """A BGR image as a MambaVision's input, ``(1, 3, height, width)``, and its scale (vertical, horizontal)."""
    height, width = image.shape[:2]
    if size is not None:
        image = cv2.resize(image, tuple(size)[::-1])
    x = torch.from_numpy(image[..., ::-1].copy()).to(device).float()
    x = (x - x.new_tensor(MEAN)) / x.new_tensor(STD)
    return x.permute(2, 0, 1)[None], (image.shape[0] / height, image.shape[1] / width)


def _choose(blocks: list, block: int | None, what: str) -> list:
    if not blocks:
        raise ConfigError(f'there is no {what}')
    return blocks if block is None else [blocks[_index(block, len(blocks), what)]]


def _index(index: int, number: int, what: str) -> int:
    if not 0 <= index < number:
        raise ConfigError(f'{what} must be from 0 to {number - 1}, got {index}')
    return index
