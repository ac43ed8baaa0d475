"""The export job of a detector."""
from __future__ import annotations

import json

import numpy as np
import torch
from torch import nn

from ..errors import ConfigError, ExportError
from . import verify
from .agreement import compare, reference
from .detector import mask_threshold
from .job import Export
from .preprocess import ImageDetector


class DetectorExport(Export):
    """`Export` of a detector, whose graph also takes the images' sizes and returns instances instead of maps.

    Raises:
        ConfigError: a format or option that detectors do not have.
        ExportError: from `write`, also where the model finds nothing in any of the pictures.
    """

    def __init__(self, *args):
        super().__init__(*args)
        if self.args.format != 'onnx':
            raise ConfigError(f'--format {self.args.format}: detectors are exported as ONNX, whose operators NMS and '
                              'RoIAlign are standard; --part backbone has the other formats')
        if self.args.dynamic == 'all':
            raise ConfigError("--dynamic: a detector's anchors and numbers of candidates are those of one height and "
                              'width; use --dynamic batch, or --with-preprocess, which takes images of any size')

    def _inputs(self) -> list[tuple[str, np.ndarray]]:
        height, width = self.shape
        rng = np.random.default_rng(0)
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        sizes = [self.shape, *self.sizes()]
        return [(f'random, {height} × {width}', noise),
                *((f'drawn, {h} × {w}', verify.verification_images((h, w), 1, seed)[0])
                  for seed, (h, w) in enumerate(sizes)), *self.photos]

    def _reference(self, image: np.ndarray):
        return reference(self.model, self.preprocess, image)

    def _graph(self) -> nn.Module:
        graph = self.what.graph.half_backbone() if self.args.fp16 else self.what.graph
        if self.args.with_preprocess:
            graph = ImageDetector(self.preprocess, graph, mask_threshold(self.model))
        return graph

    def _example(self, inputs) -> list[torch.Tensor]:
        if self.args.with_preprocess:
            return [torch.from_numpy(inputs[-1][1])]
        images, sizes = self.preprocess(torch.from_numpy(inputs[-1][1]))
        return [images.repeat(self.args.batch, 1, 1, 1), sizes.repeat(self.args.batch, 1)]

    def _check(self, inputs, expected, run) -> list[verify.Row]:
        if not any(len(detections.scores) for detections in expected):
            raise ExportError('the model finds nothing in any of the pictures, so nothing can be compared: name photos '
                              'in which it does with --images')
        masks = 'masks' in self.what.outputs
        rows = []
        for (name, image), detections in zip(inputs, expected):
            agreement = compare(self.model, run, self.preprocess, [image], [detections], self.args.batch,
                                self.args.with_preprocess, self.precision)
            rows += agreement.rows(name, masks, self.precision)
        if self.free:
            agreement = compare(self.model, run, self.preprocess, [image for _, image in inputs], expected, len(inputs),
                                precision=self.precision)
            rows += agreement.rows(f'all {len(inputs)} at once', masks, self.precision)
        return rows

    def _metadata(self) -> dict[str, str]:
        return super()._metadata() | dict(mask_threshold=json.dumps(mask_threshold(self.model)))
