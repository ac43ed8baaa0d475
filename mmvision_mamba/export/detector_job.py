"""The export job of a detector."""
from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from ..errors import ConfigError, ExportError
from ..runtime.standalone import INSTANCE_OFFSET, Detections, no_instances
from . import OF_ONNX, int8, scores, verify
from .agreement import OVERLAP, SCORES, Agreement, compare, limits
from .detr import TransformerGraph
from .features import mask_threshold
from .job import Export
from .preprocess import ImageDetector, Preprocess
from .solo import SoloGraph


class DetectorExport(Export):
    """`Export` of a detector, whose graph also takes the images' sizes and returns instances instead of maps.

    Raises:
        ConfigError: a format or option that detectors do not have.
        ExportError: from `write`, also where the model finds nothing in any of the pictures.
    """

    def __init__(self, *args):
        super().__init__(*args)
        self.queries: dict | None = getattr(self.what.graph, 'queries', None)
        self.chooses: bool = getattr(self.what.graph, 'chooses', False)
        self.stride: int | None = getattr(self.what.graph, 'stride', None)
        if self.args.format not in OF_ONNX:
            raise ConfigError(f'--format {self.args.format}: detectors are exported as ONNX and for OpenVINO '
                              'and MNN, whose operators NMS and RoIAlign are; --part backbone has the other formats')
        if isinstance(self.what.graph, TransformerGraph):
            self.what.graph.check_shape(self.shape, self.channels)
        if isinstance(self.what.graph, SoloGraph) and (self.args.dynamic or self.args.batch > 1 or self.repository):
            raise ConfigError("SOLOv2's masks are as many as an image has, so its file takes one image at a time: it "
                              'goes without --batch, --dynamic and repositories for Triton')
        if self.args.dynamic == 'all' and not self.what.graph.any_size:
            raise ConfigError("--dynamic: a detector's anchors and numbers of candidates are those of one height and "
                              'width; use --dynamic batch, or --with-preprocess, which takes images of any size')

    @property
    def by_masks(self) -> bool:
        """Whether instances are what their masks are, and boxes nothing else."""
        return bool(self.queries or self.stride)

    def _agreement(self) -> Agreement:
        return Agreement(SCORES[self.precision], self.by_masks, self.chooses, OVERLAP[self.precision])

    def _inputs(self) -> list[tuple[str, np.ndarray]]:
        """(name, image) of pictures that are checked through the runtime, see `_check_files`."""
        height, width = self.shape
        noise = np.random.default_rng(0).integers(0, 256, (height, width, self.channels), dtype=np.uint8)
        return [(f'random, {height} × {width}', noise),
                *((f'drawn, {h} × {w}', verify.verification_images((h, w), 1, seed, self.channels, self.settings)[0])
                  for seed, (h, w) in enumerate([self.shape, *self.sizes()]))]

    def _reference(self, image: np.ndarray) -> Detections:
        return self.reference(image)

    def _graph(self) -> nn.Module:
        graph = self.what.graph.halve() if self._halves else self.what.graph
        if self.args.with_preprocess:
            self.what.outputs = graph.placed_names
            graph = ImageDetector(self.preprocess, graph)
        return graph

    def _example(self, inputs) -> list[torch.Tensor]:
        image = inputs[-1][1]
        if self.args.with_preprocess:
            return [torch.from_numpy(image)]
        images, sizes, _ = Preprocess(self.shape, **self.settings | dict(interpolation='bilinear'))(
            torch.from_numpy(image))
        return [images.repeat(self.args.batch, 1, 1, 1), sizes.repeat(self.args.batch, 1)][:len(self.what.inputs)]

    def _check(self, inputs, expected, run) -> list[verify.Row]:
        """Compare the file on several pictures at once, where it takes any number; one by one see `_check_files`."""
        self.expected = list(zip(inputs, expected))
        images = [image for _, image in inputs]
        if not self.free:
            return []
        if 2 in self.free:  # of one size
            images, expected = images[:1] * 2, expected[:1] * 2
        agreement = compare(self.model, run, self.reference, images, expected, self._agreement(), self.queries)
        return agreement.rows(f'all {len(images)} at once', 'masks' in self.what.outputs, self.precision)

    def _check_together(self, found: list[list[np.ndarray]], inputs, expected) -> list[verify.Row]:
        agreement = self._agreement()
        for (_, image), outputs, one in zip(inputs, found, expected):
            outputs = dict(zip(self.what.outputs, outputs))
            panoptic, instances = outputs.pop('panoptic', None), no_instances(image.shape[:2])
            if outputs:
                instances = Detections(*outputs.values())
            agreement.add(one, replace(instances, panoptic=panoptic), *limits(self.model))
        return agreement.rows(f'{len(inputs)} at once', 'masks' in self.what.outputs, self.precision)

    def _check_files(self, path: Path) -> list[verify.Row]:
        model, rows, found = self._load_model(path), [], 0
        pictures = [(name, verify.save_picture(image, path.with_name(f'{i}')), expected)
                    for i, ((name, image), expected) in enumerate(self.expected)]
        for name, file, expected in pictures + [(name, file, self.reference(file)) for name, file in self.photos]:
            agreement = self._agreement()
            agreement.add(expected, model(file), *limits(self.model))
            found += len(expected.scores)
            if expected.panoptic is not None:
                found += int((expected.panoptic % INSTANCE_OFFSET < len(self.meta['classes'])).any())
            rows += agreement.rows(name, 'masks' in self.what.outputs, self.precision)
        for _, file, _ in pictures:
            file.unlink()
        if not found:
            raise ExportError('the model finds nothing in any of the pictures, so nothing can be compared: name photos '
                              'in which it does with --images')
        return rows

    def _feed(self, picture: Path) -> dict[str, np.ndarray]:
        images, sample = self.reference.prepare(picture)
        feed = dict(image=np.repeat(images.numpy(), self.args.batch, 0),
                    image_size=np.repeat(np.array([sample.img_shape[:2]], np.int64), self.args.batch, 0))
        return {name: feed[name] for name in self.what.inputs}

    def _judge(self, whole: Path, most: int) -> Callable[[Path], int8.Outcome]:
        return int8.metrics_lost(whole, lambda path: scores.average_precisions(self.cfg, path, most),
                                 f'{most} of the test data at most')

    def _about_inputs(self) -> dict[str, dict]:
        about = super()._about_inputs()
        if self.args.with_preprocess:
            return about
        about = dict(image=about['images'], image_size=dict(type='int64', shape=[about['images']['shape'][0], 2]))
        return {name: about[name] for name in self.what.inputs}

    def _metadata(self) -> dict[str, str]:
        values = dict(mask_threshold=mask_threshold(self.model))
        if self.queries:
            values['queries'] = self.queries
        if self.stride:
            values['mask_stride'] = self.stride
        return super()._metadata() | {key: json.dumps(value) for key, value in values.items()}
