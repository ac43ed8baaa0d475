"""One export job: it writes a file beside its place, compares it with the model, and only then gives it its name."""
import argparse
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from torch import nn

from ..backbones.weights import load_fitting
from ..checkpoints.reading import read_checkpoint
from ..errors import ConfigError, ExportError
from ..made_beside import OLD, made_beside
from ..preflight.pretrained import drop_pretrained
from ..printable import shown
from ..runtime import loaders
from ..runtime.standalone import Model, RuntimeInputError
from . import INT8_IMAGES, OF_ONNX, formats, int8, layer_errors, quantize, scores, tensorrt, verify
from .mnn_file import describe, write_mnn
from .onnx_file import LIMIT, operators
from .parts import Exportable
from .photos import find_photos
from .pipeline import input_channels, pipeline_settings
from .preprocess import Preprocess
from .reference import Reference, has_pipeline
from .segmentor import window
from .shapes import warn_of_shape
from .triton import Repository, check_folder
from .wrappers import Half, Images

SMALLEST = 32  # pixels a side that MambaVision takes


def build_model(cfg, checkpoint: str) -> tuple[nn.Module, object]:
    """The config's model with the checkpoint's weights, in eval mode, and the content of the checkpoint.

    Raises:
        CheckpointError: the checkpoint can't be read, or is of another model.
        ConfigError: the data preprocessor is for another number of channels than the backbone.
    """
    pipeline_settings(cfg, input_channels(cfg), strict=False)  # before anything is built
    drop_pretrained(cfg.model)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    content = read_checkpoint(checkpoint)
    load_fitting(model, content, checkpoint)
    return model.eval(), content


class Export:
    """The job of writing a part of a model in one format and checking the file against the model.

    Args:
        what: the part, from `build_exportable`.
        model: the whole model.
        args: the parsed command line of `mmvision-mamba export`.
        cfg: the model's config.
        meta: `classes` and `palette` of the model; of a segmentor `reduce_zero_label` of its data set.
        repository: for Triton, to write in the place of a file; `args` are then of ONNX with preprocessing. Default:
            none.
    """

    def __init__(self, what: Exportable, model: nn.Module, args: argparse.Namespace, cfg: Config, meta: dict,
                 repository: Repository | None = None):
        self.what, self.model, self.args, self.cfg, self.meta = what, model, args, cfg, meta
        self.repository = repository
        self.channels = input_channels(cfg)
        self.settings = pipeline_settings(cfg, self.channels, strict=what.part != 'backbone')
        if args.int8 and not getattr(what.graph, 'int8', True):
            raise ConfigError(f'--int8: {type(model).__name__} predicts by queries or masks of whole images, of which '
                              'int8 is not checked: leave it out, or use --part backbone')
        self.shape = tuple(args.shape)
        self.free = dict(all=(0, 2, 3), batch=(0,)).get(args.dynamic, ())
        if 2 not in self.free and not has_pipeline(cfg):
            self.settings['scale'] = list(self.shape)  # a classifier's images fill the input
        self.precision = 'float16' if args.fp16 else 'float32'
        self.int8: int8.Outcome | None = None  # of --int8, once the file is written
        self.photos = find_photos(cfg, args.images, self.channels, self.settings.get('bands'))
        self.window = window(model) if what.part == 'segmentor' else None
        self._check_window()
        if args.with_preprocess and self.settings.get('bands'):
            raise ConfigError('--with-preprocess takes images in colour of 8 bits, and the config loads bands: export '
                              'without it, and the runtime prepares them')
        if args.with_preprocess:
            self.preprocess = Preprocess(self.shape, **self.settings)
        self.reference = Reference(model, what.part, cfg, self.settings,
                                   None if self._as_config else self.shape, self.channels,
                                   self.shape if self.window and 2 not in self.free else (0, 0))

    def write(self, path: Path) -> list[verify.Row]:
        """Write the file, check it, and give it its name. Nothing is left of a file that fails.

        Returns:
            all checks, for `verify.table`.

        Raises:
            ExportError: the file doesn't agree with the model; the message lists the checks that failed.
        """
        args = self.args
        self._warn_of_shape()
        inputs = self._inputs()
        expected = [self._reference(images) for _, images in inputs]
        self.what.graph = self._graph().eval()
        if args.with_preprocess:
            self.what.inputs = ('image',)
            if self.what.part == 'segmentor':
                self.what.outputs = self.what.outputs[:1]
        path.parent.mkdir(parents=True, exist_ok=True)
        with made_beside(path) as folder:
            unfinished = folder / path.name
            self._save(unfinished, self._example(inputs))
            rows = self._check(inputs, expected, self._load(unfinished))
            rows += self._check_files(unfinished)
            if self.repository:
                rows += self._check_together(self.repository.together(unfinished, [image for _, image in inputs]),
                                             inputs, expected)
            if args.int8 and all(row.passed for row in rows):
                self.int8 = self._to_int8(unfinished, inputs)
                rows += self.int8.rows
            if failed := [row for row in rows if not row.passed]:
                raise ExportError(f'{path.name} does not agree with the model it was made of, and is not kept:\n'
                                  + verify.table(failed))
            formats.tie_weights(unfinished, args.format)
            weights = path.with_name(f'{path.name}.data')
            if weights.exists() and not _reads(path, weights):
                if (folder / weights.name).exists():
                    raise ConfigError(f"--out: the weights go to '{shown(weights)}', where another file lies: choose "
                                      'another name')
            elif not (folder / weights.name).exists():
                weights.unlink(missing_ok=True)  # those of the file that is replaced
            if self.repository and path.is_dir():
                check_folder(path, self.repository.name)  # again: it may have got other files meanwhile
                os.replace(path, folder.parent / OLD)
            for file in sorted(folder.iterdir(), key=unfinished.__eq__):  # the weights before the graph
                os.replace(file, path.with_name(file.name))
        return rows

    def _save(self, path: Path, example: list[torch.Tensor]) -> None:
        if self.repository:
            self.repository.write(self.what.graph, self.what.outputs, path, example[0], self._metadata())
        else:
            formats.write(self.what, path, self.args.format, example, self.free, self._metadata(), self.args.opset,
                          self.args.simplify, self.args.fp16)

    def _load(self, path: Path) -> Callable[..., list[np.ndarray]]:
        """What was written as a function of arrays."""
        if not self.repository:
            return loaders.load(path, self.args.format)
        run = self.repository.load(path).session.run
        return lambda image: run(dict(image=image))

    def _load_model(self, path: Path) -> Model:
        return self.repository.load(path) if self.repository else loaders.load_model(path, self.args.format)

    def sizes(self) -> list[tuple[int, int]]:
        """(height, width) of pictures to check on, of several aspect ratios, none of the exported height and width."""
        height, width = self.shape
        return [(height + 37, width + 90), (max(32, height // 2 + 1), max(32, width // 2)),
                (height * 3 // 2 + 5, width)]

    @property
    def _as_config(self) -> bool:
        """Whether the runtime prepares images just as the config does: no size of the file's own is in the way."""
        return (2 in self.free or self.window is not None) and has_pipeline(self.cfg)

    @property
    def _halves(self) -> bool:
        """Whether the graph itself is of float16: OpenVINO and MNN keep weights so, and compute in float32."""
        return self.args.fp16 and self.args.format not in ('openvino', 'mnn')

    def _check_window(self) -> None:
        if not self.window:
            return
        crop = self.window['crop']
        if self.args.with_preprocess:
            raise ConfigError("--with-preprocess: model.test_cfg.mode='slide' slides windows over the image, which the "
                              'runtime does for a file without it; or use --cfg-options model.test_cfg.mode=whole')
        if 2 not in self.free and list(self.shape) != crop:
            raise ConfigError(f"--shape {self.shape[0]} {self.shape[1]}: model.test_cfg.mode='slide' has windows of "
                              f'{crop[0]} × {crop[1]} pixels: use --shape {crop[0]} {crop[1]}, or --dynamic')

    def _warn_of_shape(self) -> None:
        if not self._as_config and has_pipeline(self.cfg):
            warn_of_shape(self.model, self.what.part, self.cfg, self.settings, self.shape, self.photos, self.channels)

    def _inputs(self) -> list[tuple[str, np.ndarray]]:
        """(name, array) of what to check the graph on: batches, or images if it prepares them."""
        if not self.args.with_preprocess:
            return verify.batches(self.shape, self.settings, self.args.batch, self.free, self.channels)
        return [(f'drawn, {h} × {w}', verify.verification_images((h, w), 1, seed, self.channels)[0])
                for seed, (h, w) in enumerate(self.sizes())]

    def _check_files(self, path: Path) -> list[verify.Row]:
        """Compare what `runtime.Model` makes of image files with what PyTorch does: from the file to the result."""
        model, rows = self._load_model(path), []
        pictures = []
        for seed, (height, width) in enumerate(self.sizes()):
            picture = verify.verification_images((height, width), 1, seed, self.channels, self.settings)[0]
            pictures.append((f'file, {height} × {width}', verify.save_picture(picture, path.with_name(f'{seed}'))))
        for name, file in pictures + self.photos:
            try:
                rows += self._compare_results(name, self.reference(file), model(file))
            except RuntimeInputError as error:
                raise ExportError(f'the runtime can not run the file, which is not kept: {error}') from error
        for _, file in pictures:
            file.unlink()
        return rows

    def _check_together(self, found: list[list[np.ndarray]], inputs, expected) -> list[verify.Row]:
        """Compare the outputs for images that went through the network together."""
        results = iter(found)
        named = [(f'{name}, {len(inputs)} at once', image) for name, image in inputs]
        return self._check(named, expected, lambda image: next(results))

    def _compare_results(self, name: str, expected, found) -> list[verify.Row]:
        return verify.compare_results(self.what.part, self.what.outputs, name, expected, found, self.precision)

    def _graph(self) -> nn.Module:
        graph = self.what.graph.halve() if self._halves else self.what.graph
        if self.args.with_preprocess:
            graph = Images(self.preprocess, graph)
        return Half(graph) if self._halves else graph

    def _example(self, inputs) -> list[torch.Tensor]:
        example = inputs[0][1]
        # torch.export takes a size of 1 for a constant.
        if 0 in self.free and self.args.format not in OF_ONNX:
            example = np.repeat(example, 2, 0)
        return [torch.from_numpy(example)]

    def _reference(self, images: np.ndarray) -> list[np.ndarray]:
        if not self.args.with_preprocess:
            return verify.reference(self.model, self.what.part, torch.from_numpy(images))
        return verify.image_reference(self.model, self.what.part, images, self.preprocess)

    def _check(self, inputs, expected, run) -> list[verify.Row]:
        if self.args.with_preprocess:
            return verify.compare_images(self.model, self.what.part, self.what.outputs, inputs, expected, run,
                                         self.precision)
        return verify.compare(self.model, self.what.part, self.what.outputs, inputs, expected, run, self.precision)

    def _to_int8(self, path: Path, inputs) -> int8.Outcome:
        """Replace the file by its int8 form; see `int8.within_bound`."""
        format, kind = self.args.format, self.args.int8
        calibration, test = self.args.int8_images or INT8_IMAGES
        if format == 'mnn':
            return self._to_int8_weights(path, inputs, test)
        if path.with_name(f'{path.name}.data').exists():
            raise ConfigError('--int8: weights of 2 GB and more can not be quantised')
        whole = path.parent / 'float32' / path.name
        whole.parent.mkdir()
        for file in loaders.files_of(path):
            file.rename(whole.with_name(file.name))
        pictures = scores.pictures(self.cfg, 'train', calibration)
        layers = quantize.layers(whole, format, kind)
        judge = self._judge(whole, test)

        def write(kept):
            feeds = map(self._feed, pictures)
            if format == 'openvino':
                quantize.quantize_openvino(whole, path, feeds, kept)
            else:
                quantize.quantize_onnx(whole, path, kind, feeds, kept)

        def worst_first():
            graph = whole
            if format == 'openvino':
                graph = whole.parent / 'onnx' / f'{whole.stem}.onnx'  # the writer takes a folder for its own
                graph.parent.mkdir()
                formats.write(self.what, graph, 'onnx', self._example(inputs), self.free, {}, self.args.opset,
                              self.args.simplify)
            return layer_errors.worst_first(graph, layers, map(self._feed, pictures[:4]))
        outcome = int8.within_bound(write, lambda: judge(path), len(layers), worst_first)
        shutil.rmtree(whole.parent)
        quantize.annotate(path, format, outcome.metadata(kind, quantize.in_float(path, format)))
        return outcome

    def _to_int8_weights(self, path: Path, inputs, test: int) -> int8.Outcome:
        """As `_to_int8`, of MNN: its converter makes both files of one graph, and all layers alike."""
        whole = path.parent / 'float32' / path.name
        whole.parent.mkdir()
        path.rename(whole)
        judge = self._judge(whole, test)
        layers = []

        def write_onnx(graph):
            formats.write(self.what, graph, 'onnx', self._example(inputs), self.free, {}, self.args.opset,
                          self.args.simplify)
            layers.extend(quantize.layers(graph, 'onnx', 'static'))
        write_mnn(path, write_onnx, self._metadata(), bits=8)
        outcome = judge(path)
        outcome.layers = len(layers)
        shutil.rmtree(whole.parent)
        describe(path, {key: json.dumps(value) for key, value in outcome.metadata('weights', []).items()})
        return outcome

    def _feed(self, picture: Path) -> dict[str, np.ndarray]:
        """The graph's inputs for an image file: of a sliding window, its upper left."""
        images = self.reference.prepare(picture)[0][:, :, :self.shape[0], :self.shape[1]]
        return dict(images=np.repeat(images.numpy(), self.args.batch, 0))

    def _judge(self, whole: Path, most: int) -> Callable[[Path], int8.Outcome]:
        """What tells of an int8 file what it loses against `whole`, on at most `most` images of the test data."""
        images, format = f'{most} of the test data at most', self.args.format
        if self.what.part == 'backbone':
            return int8.features_changed(whole, format, self.what.outputs, scores.pictures(self.cfg, 'test', most),
                                         images)

        def measure(path):
            return dict(mIoU=scores.mean_iou(loaders.load_model(path, format), scores.labelled(self.cfg, 'test', most),
                                             len(self.meta['classes'])))
        return int8.metrics_lost(whole, measure, images)

    def _metadata(self) -> dict[str, str]:
        """The metadata that `runtime.Model` reads, each value as JSON."""
        task = dict(backbone='features', segmentor='segmentation', detector='detection')[self.what.part]
        values = dict(task=task, classes=list(self.meta['classes']), palette=[list(c) for c in self.meta['palette']],
                      **{key: value for key, value in self.settings.items() if key not in ('scale', 'keep_ratio')},
                      resize={key: self.settings[key] for key in ('scale', 'keep_ratio')},
                      shape=list(self.shape), precision=self.precision, outputs=list(self.what.outputs),
                      inputs=self._about_inputs())
        if 2 in self.free:
            values.update(smallest=SMALLEST, largest=formats.LARGEST)
        if self.what.part == 'segmentor':
            values.update(align_corners=self.model.decode_head.align_corners, slide=self.window,
                          reduce_zero_label=self.meta['reduce_zero_label'])
        threshold = getattr(getattr(self.model, 'decode_head', None), 'threshold', None)
        if threshold is not None:
            values['threshold'] = threshold
        return {key: json.dumps(value) for key, value in values.items()}

    def _about_inputs(self) -> dict[str, dict]:
        """Type and shape of each input, None for an open side."""
        if self.args.with_preprocess:
            return dict(image=dict(type='uint8', shape=[None, None, self.channels]))
        shape = [None if axis in self.free else n
                 for axis, n in enumerate((self.args.batch, self.channels, *self.shape))]
        return dict(images=dict(type='float32', shape=shape))


def _reads(path: Path, weights: Path) -> bool:
    """Whether there is an ONNX file at a path, and its weights lie in that other file."""
    if path.suffix != '.onnx' or not path.is_file() or path.stat().st_size > LIMIT:
        return False
    return weights.name.encode() in path.read_bytes()


def about_file(path: Path, format: str, model: nn.Module, part: str) -> str:
    """A line about an exported file: its size, its operators, and those that TensorRT lacks."""
    size = sum(file.stat().st_size for file in loaders.files_of(path))
    weights = sum(p.numel() * p.element_size() for p in getattr(model, part, model).parameters())
    text = f'{size / 1e6:,.1f} MB ({size / weights:.2f} of the weights in PyTorch)'
    if format == 'onnx':
        count = operators(path)
        text += f', {sum(count.values()):,} nodes of {len(count)} standard operators'
        if missing := tensorrt.unsupported(count):
            text += f'; not for TensorRT: {", ".join(missing)}'
    return text
