"""Attention, scan steps and features of a MambaVision for one image, as maps on the image's own pixels."""
from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import cv2
import numpy as np
import torch
from torch import Tensor

from ..backbones import MambaVision
from ..backbones.family import MEAN, STD
from ..errors import CheckpointError, ConfigError
from ..inference.exported import ExportedModel
from ..inference.images import as_bgr
from ..printable import shown
from .recording import Stage, recording

PERCENTILES = (1, 99)  # those of a component's values that become 0 and 1


class BackboneMaps:
    """Maps of a model's backbone for one image; the heads are not run.

    Stages are numbered 1 to 4, as in the paper. Every map has the size of the original image: a pixel gets the value of
    the position whose cell (stride × stride pixels of the resized and padded input) it lies in.

    Args:
        model: an `Inferencer`, whose test pipeline prepares the image, or a MambaVision, for which it is normalised as
            for ImageNet.
        image: a path, URL, NumPy array in BGR or Pillow image.
        size: (height, width) to resize the image to for a MambaVision. Default: as it is.

    Attributes:
        image: uint8 ``(H, W, 3)``, **RGB**.
        stages: the numbers of the stages there are.

    Raises:
        CheckpointError: the features are NaN or infinite.
        ConfigError: the model has no MambaVision.
        DataError: the image can't be read, or is too small for the network.
    """

    @torch.no_grad()
    def __init__(self, model, image, size: Sequence[int] | None = None):
        if isinstance(model, MambaVision):
            bgr = as_bgr(image)
            x, scale, lock = *_prepare(bgr, size, next(model.parameters()).device), nullcontext()
            backbone = model
        else:
            if size is not None:
                raise ConfigError('size is for a bare MambaVision: a config resizes the image in its test pipeline')
            read = model.read(image)
            (x, scale), bgr = model.preprocess(read), model.picture(read)
            backbone, lock = find_backbone(model.model), model.lock
        self.image = np.ascontiguousarray(bgr[..., ::-1])
        self._scale = scale
        if backbone.training:
            raise ConfigError('the backbone is in training mode: call eval() first')
        with lock, recording(backbone) as stages:
            backbone(x)
        for number, stage in enumerate(stages, 1):
            if not stage.features.isfinite().all():
                raise CheckpointError(f'stage {number} gives NaN or infinite features for this image: weights of the '
                                      'backbone are, or the training had diverged. Take an earlier checkpoint')
        self._stages: list[Stage] = stages
        self.stages = tuple(range(1, len(stages) + 1))

    def attention(self, stage: int, point: Sequence[float] | None = None, block: int | None = None,
                  head: int | None = None) -> np.ndarray:
        """Self-attention of stage 3 or 4: the attention that each position gets, 1 being an even share.

        Args:
            stage: 3 or 4.
            point: (x, y) of a query in the image's pixels; outside its window the attention is 0. None: the average
                over all queries of each window.
            block: of the stage's self-attention blocks, from 0. None: their mean.
            head: of the block, from 0. None: the mean of all.

        Returns:
            float32 ``(H, W)``. Over a window it averages to 1, less the attention to padding with 'zeros'.

        Raises:
            ConfigError: no such stage, block or head, or a point outside the image.
        """
        record = self._stage(stage, windows=True)
        blocks = _choose(record.attention, block, f'self-attention block of stage {stage}')
        heads = slice(None) if head is None else [_index(head, blocks[0].q.shape[1], f'head of stage {stage}')]
        real = record.real_tokens(blocks[0].q.device)
        values = torch.zeros(real.shape, device=real.device)
        if point is None:
            for attention in blocks:
                values += attention.mean(real)[:, heads].mean(1)
        else:
            window, token = record.locate(*self._cell(record, point))
            for attention in blocks:
                values[window] += attention.weights(window, slice(token, token + 1))[heads, 0].mean(0)
        keys = real.shape[1] if blocks[0].mask is None else blocks[0].mask.sum(1, keepdim=True)
        return self._to_image(record, record.to_map(values * keys / len(blocks)))

    def delta(self, stage: int, block: int | None = None) -> np.ndarray:
        """The scan's step Δ in the mixers of stage 3 or 4, averaged over channels: how much the state takes in there.

        Args:
            stage: 3 or 4.
            block: of the stage's mixers, from 0. None: their mean.

        Returns:
            float32 ``(H, W)``, positive.
        """
        record = self._stage(stage, windows=True)
        blocks = _choose(record.delta, block, f'mixer of stage {stage}')
        return self._to_image(record, record.to_map(torch.stack(blocks).mean(0)))

    def components(self, stage: int) -> np.ndarray:
        """The first three principal components of a stage's output as red, green, blue, float32 ``(H, W, 3)``, 0 to 1.

        Each component is signed so that its largest weight is positive; its 1st and 99th percentile become 0 and 1.
        """
        record = self._stage(stage)
        rows, columns = (int(index.max()) + 1 for index in self._cells(record))  # the rest is padding
        features = record.features[:, :rows, :columns].float()
        points = features.flatten(1).T.double()
        points = points - points.mean(0)
        vectors = torch.linalg.eigh(points.T @ points)[1].flip(1)[:, :3]
        vectors = vectors * vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
        values = points @ vectors
        low, high = (torch.quantile(values, q / 100, dim=0) for q in PERCENTILES)
        values = ((values - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
        return self._to_image(record, values.float().unflatten(0, (rows, columns)))

    def window(self, stage: int, point: Sequence[float]) -> tuple[int, int, int, int]:
        """The window of a point in stage 3 or 4, cut to the image: x1, y1, x2, y2 in pixels, the last two exclusive."""
        record = self._stage(stage, windows=True)
        spans = []
        sides = record.windows.window_height, record.windows.window_width
        for cell, side, cells in zip(self._cell(record, point), sides, self._cells(record)):
            inside = np.flatnonzero(cells // side == cell // side)
            spans.append((int(inside[0]), int(inside[-1]) + 1))
        (y1, y2), (x1, x2) = spans
        return x1, y1, x2, y2

    def _stage(self, stage: int, windows: bool = False) -> Stage:
        """The record of a stage by its number; with `windows`, of one of those that have windows."""
        valid = self.stages[2:] if windows else self.stages
        if stage not in valid:
            raise ConfigError(f'stage must be one of {", ".join(map(str, valid)) or "none, this backbone is cut off"}, '
                              f'got {stage!r}')
        return self._stages[stage - 1]

    def _cells(self, stage: Stage) -> tuple[np.ndarray, np.ndarray]:
        """For each row and each column of the image, the index of the stage's row or column that it lies in."""
        return tuple(np.minimum((np.arange(n) + 0.5) * scale / stage.stride, length - 1).astype(int)
                     for n, scale, length in zip(self.image.shape[:2], self._scale, stage.features.shape[1:]))

    def _cell(self, stage: Stage, point: Sequence[float]) -> tuple[int, int]:
        """(row, column) of the stage's map in which a point of the image lies."""
        x, y = point
        height, width = self.image.shape[:2]
        if not (0 <= x < width and 0 <= y < height):
            raise ConfigError(f'point {x:g} {y:g} lies outside the image of {width} × {height} pixels (width × height)')
        rows, columns = self._cells(stage)
        return int(rows[int(y)]), int(columns[int(x)])

    def _to_image(self, stage: Stage, values: Tensor) -> np.ndarray:
        """Values on the stage's map -> on the image's pixels."""
        rows, columns = self._cells(stage)
        return values.float().cpu().numpy()[rows[:, None], columns]


def find_backbone(model: torch.nn.Module) -> MambaVision:
    """The MambaVision within a model; raises ConfigError where there is none."""
    for module in model.modules():
        if isinstance(module, MambaVision):
            return module
    if isinstance(model, ExportedModel):
        raise ConfigError(f"{shown(model.path)} is an exported file, which keeps what its backbone computes to itself: "
                          'for its maps take the checkpoint')
    backbone = getattr(model, 'backbone', model)
    raise ConfigError(f'the model has no MambaVision, its backbone is a {type(backbone).__name__}')


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


def _choose(blocks: list, block: int | None, name: str) -> list:
    """The block of that index, or for None all; `name` is for messages."""
    if not blocks:
        raise ConfigError(f'there is no {name}')
    return blocks if block is None else [blocks[_index(block, len(blocks), name)]]


def _index(index: int, number: int, name: str) -> int:
    """`index`, checked to be one of `number`."""
    if not 0 <= index < number:
        raise ConfigError(f'{name} must be from 0 to {number - 1}, got {index}')
    return index
