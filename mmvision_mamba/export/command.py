"""What tools/export.py does: export, check, and only then put the file in its place."""
import argparse
import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS
from torch import nn

from ..backbones.checkpoint import extract_state_dict, read_checkpoint
from ..engine import launch
from ..engine.checkpoint_fit_hook import check_fit
from ..engine.data_checks import check_datasets
from ..errors import ConfigError, ExportError
from ..inference.toolboxes import dataset_meta
from . import formats, quantize, tensorrt, verify
from .onnx_file import operators
from .parts import OUTPUTS, PARTS, Exportable, Half, Images, build_exportable, halve
from .photos import find_photos
from .preprocess import Preprocess, pipeline_settings

SCOPES = dict(mmseg='segmentor', mmdet='detector')
INT8_IMAGES = 32, 100


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', help='checkpoint file or URL')
    parser.add_argument('--format', choices=list(formats.FORMATS), default='onnx', help='default: onnx')
    parser.add_argument('--shape', type=int, nargs=2, metavar=('H', 'W'), default=(512, 512),
                        help='height and width of the images; with a free size, of the example. Default: 512 512')
    parser.add_argument('--batch', type=int, default=1, metavar='N', help='images at once; default: 1')
    parser.add_argument('--dynamic', nargs='?', const='all', choices=['all', 'batch'],
                        help='leave the number of images, their height and their width open; "batch": their number '
                        'alone')
    parser.add_argument('--part', choices=PARTS, help="default: the config's whole model, segmentor or detector")
    parser.add_argument('--output', choices=OUTPUTS,
                        help='of a segmentor: the map of labels, or logits. Default: map')
    parser.add_argument('--fp16', action='store_true', help='float16 weights and arithmetic, the scan in float32; '
                        'inputs and outputs stay float32')
    parser.add_argument('--int8', nargs='?', const='static', choices=quantize.KINDS,
                        help="int8 weights of a segmentor, for onnxruntime. static (without a value): activations too, "
                        "calibrated on the config's training images; dynamic: linear layers alone. Kept only if the "
                        'mIoU on its test images falls by a point at most')
    parser.add_argument('--int8-images', type=int, nargs=2, metavar=('CALIBRATION', 'TEST'),
                        help='how many images of the data sets --int8 uses; default: '
                        + ' '.join(map(str, INT8_IMAGES)))
    parser.add_argument('--simplify', action='store_true', help='have onnxslim shrink the ONNX graph')
    parser.add_argument('--with-preprocess', action='store_true', help='take one RGB image (h, w, 3) uint8 of any '
                        'size, and resize, pad and normalise it in the graph; maps and masks come in its own size')
    parser.add_argument('--verify', action='store_true',
                        help='print what was checked, line by line. It is checked without this too')
    parser.add_argument('--images', nargs='+', metavar='IMAGE',
                        help='check on these photos, besides noise and generated pictures; default: two of the '
                        "config's test data, where it is there")
    parser.add_argument('--opset', type=int, default=formats.OPSET, metavar='N', help='of ONNX; default: %(default)s')
    parser.add_argument('--out', type=Path, metavar='FILE', help='default: work_dirs/CONFIG_NAME/PART.onnx (.pt2, .pt)')
    launch.add_cfg_options(parser)


def export(args: argparse.Namespace) -> Path:
    """Export as the command line says; returns the file.

    Raises:
        UserError: what can't be exported, and why; ExportError: what was, and isn't right.
    """
    check_options(args)
    cfg = launch.read_config(args.config, args.cfg_options)
    part = args.part or SCOPES.get(cfg.default_scope)
    if part is None or (part != 'backbone' and SCOPES.get(cfg.default_scope) != part):
        raise ConfigError(f'--part {part or ""}: {args.config} is of {cfg.default_scope}: '
                          f'{SCOPES.get(cfg.default_scope, "only its backbone")} or backbone')
    model, checkpoint = build_model(cfg, args.checkpoint)
    meta = dataset_meta(model, cfg, checkpoint.get('meta', {}) if isinstance(checkpoint, dict) else {})
    path = args.out or Path('work_dirs') / Path(args.config).stem / f'{part}{formats.FORMATS[args.format]}'
    if path.is_dir() or path.suffix != formats.FORMATS[args.format]:
        raise ConfigError(f'--out: a {formats.FORMATS[args.format]} file, got {path}')
    if args.int8:
        if part != 'segmentor':
            raise ConfigError('--int8 is judged by mIoU: it is for segmentors')
        check_datasets(cfg, ('train', 'test'))
    if args.output and part != 'segmentor':
        raise ConfigError(f'--output {args.output} is for a segmentor, and this is a {part}')
    what = build_exportable(model, part, args.output or 'map')
    kind = Export
    if part == 'detector':
        from .detector_export import DetectorExport as kind
    rows = kind(what, model, args, cfg, meta).write(path)
    if args.verify:
        print(verify.table(rows))
    print(f'{path}: {_about(path, args.format, model, part)}; {len(rows)} checks passed')
    return path


def check_options(args: argparse.Namespace) -> None:
    if min(args.shape) < 32:
        raise ConfigError(f'--shape {args.shape[0]} {args.shape[1]}: MambaVision takes images of 32 pixels or more on '
                          'each side')
    if args.batch < 1:
        raise ConfigError(f'--batch must be at least 1, got {args.batch}')
    if args.format != 'onnx' and (args.simplify or args.opset != formats.OPSET):
        raise ConfigError('--simplify and --opset are for --format onnx')
    if args.opset < 17 or args.opset > 20:
        raise ConfigError(f'--opset: 17 to 20, got {args.opset}')
    if args.format in ('torch-export', 'aot-inductor') and args.dynamic == 'all':
        raise ConfigError(f'--format {args.format}: torch.export makes a constant of whether a side has one window or '
                          'several, so height and width can not be left open; use --dynamic batch, or --format onnx or '
                          'torchscript')
    if args.with_preprocess and args.format not in ('onnx', 'torchscript'):
        raise ConfigError('--with-preprocess: graphs of images of any size are for --format onnx and torchscript')
    if args.with_preprocess and (args.batch != 1 or args.dynamic):
        raise ConfigError('--with-preprocess takes one image of any size: it does not go with --batch and --dynamic')
    if args.int8 and (args.format != 'onnx' or args.fp16 or args.with_preprocess or args.dynamic == 'all'
                      or args.output == 'logits' or args.part not in (None, 'segmentor')):
        raise ConfigError('--int8 is for a segmentor as --format onnx with --output map, of one height and width, '
                          'without --fp16 and --with-preprocess')
    if args.int8_images and not args.int8:
        raise ConfigError('--int8-images goes with --int8')
    if args.int8_images and min(args.int8_images) < 1:
        raise ConfigError('--int8-images must be at least 1 each')
    if args.format == 'onnx':
        formats.require('--format onnx', 'onnx', 'onnxruntime', *(['onnxslim'] if args.simplify else []))


def build_model(cfg, checkpoint: str) -> tuple[nn.Module, object]:
    """The config's model with the checkpoint's weights, in eval mode, and what else the checkpoint holds.

    Raises:
        CheckpointError: it can't be read, or is of another model.
    """
    cfg.model.backbone.init_cfg = None
    cfg.model.backbone.pop('pretrained', None)
    model = revert_sync_batchnorm(MODELS.build(cfg.model))
    found = read_checkpoint(checkpoint)
    check_fit(model, found, checkpoint)
    model.load_state_dict(extract_state_dict(found, prefix=''), strict=False)
    return model.eval(), found


class Export:
    """A part of a model, to be written in one format and checked against the model.

    Args:
        what: from `build_exportable`.
        model: the whole model.
        args: the command line.
        cfg: the config.
        meta: classes and palette.
    """

    def __init__(self, what: Exportable, model: nn.Module, args: argparse.Namespace, cfg: Config, meta: dict):
        self.what, self.model, self.args, self.cfg, self.meta = what, model, args, cfg, meta
        self.settings = pipeline_settings(cfg)
        self.shape = tuple(args.shape)
        self.free = dict(all=(0, 2, 3), batch=(0,)).get(args.dynamic, ())
        self.precision = 'float16' if args.fp16 else 'float32'
        self.preprocess = Preprocess(self.shape, **self.settings)
        self.photos = find_photos(cfg, args.images)

    def write(self, path: Path) -> list[verify.Row]:
        """Write the file, check it, and give it its name. Nothing is left of one that fails.

        Raises:
            ExportError: it doesn't agree with the model; the message has the lines that fail.
        """
        args = self.args
        inputs = self._inputs()
        expected = [self._reference(images) for _, images in inputs]
        self.what.graph = self._graph().eval()
        if args.with_preprocess:
            self.what.inputs = ('image',)
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = path.with_name(f'.{path.stem}.{os.getpid()}')
        folder.mkdir()
        try:
            unfinished = folder / path.name
            formats.write(self.what, unfinished, args.format, self._example(inputs), self.free, self._metadata(),
                          args.opset, args.simplify)
            rows = self._check(inputs, expected, formats.load(unfinished, args.format))
            if args.int8:
                rows += self._to_int8(unfinished)
            if failed := [row for row in rows if not row.passed]:
                raise ExportError(f'{path.name} does not agree with the model it was made of, and is not kept:\n'
                                  + verify.table(failed))
            weights = path.with_name(f'{path.name}.data')
            if not (folder / weights.name).exists():
                weights.unlink(missing_ok=True)  # of the file that is replaced
            for file in sorted(folder.iterdir(), reverse=True):  # the weights before the graph
                os.replace(file, path.with_name(file.name))
        finally:
            shutil.rmtree(folder)
        return rows

    def sizes(self) -> list[tuple[int, int]]:
        """Heights and widths of pictures of several sizes and aspects, none of them the model's own."""
        height, width = self.shape
        return [(height + 37, width + 90), (max(32, height // 2 + 1), max(32, width // 2)), (height * 3 // 2, width)]

    def _inputs(self):
        if not self.args.with_preprocess:
            found = [(name, self.preprocess(torch.from_numpy(photo))[0].repeat(self.args.batch, 1, 1, 1).numpy())
                     for name, photo in self.photos]
            return verify.batches(self.shape, self.settings, self.args.batch, self.free) + found
        return [(f'drawn, {h} × {w}', verify.verification_images((h, w), 1, seed)[0])
                for seed, (h, w) in enumerate(self.sizes())] + self.photos

    def _graph(self) -> nn.Module:
        graph = halve(self.what.graph) if self.args.fp16 else self.what.graph
        if self.args.with_preprocess:
            graph = Images(self.preprocess, graph)
        return Half(graph) if self.args.fp16 else graph

    def _example(self, inputs) -> list[torch.Tensor]:
        example = inputs[0][1]
        if 0 in self.free and self.args.format != 'onnx':  # torch.export takes a size of 1 for a constant
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

    def _to_int8(self, path: Path) -> list[verify.Row]:
        """Put the file's int8 form in its place; returns what that costs."""
        calibration, test = self.args.int8_images or INT8_IMAGES
        if path.with_name(f'{path.name}.data').exists():
            raise ConfigError('--int8: weights of 2 GB and more can not be quantised')
        whole = path.with_name('float32.onnx')
        path.rename(whole)
        quantize.quantize(whole, path, self.args.int8, (
            images for images, _, _ in quantize.labelled(self.cfg, 'train', self.preprocess, calibration)))
        rows = quantize.check(self.cfg, whole, path, self.preprocess, len(self.meta['classes']), test)
        whole.unlink()
        return rows

    def _metadata(self) -> dict[str, str]:
        """What `runtime.Model` reads: every value is JSON."""
        task = dict(backbone='features', segmentor='segmentation', detector='detection')[self.what.part]
        values = dict(task=task, classes=list(self.meta['classes']), palette=[list(c) for c in self.meta['palette']],
                      **{key: self.settings[key] for key in ('mean', 'std', 'channel_order', 'pad_value')},
                      resize={key: self.settings[key] for key in ('scale', 'keep_ratio')},
                      shape=list(self.shape), precision=self.precision)
        if 2 in self.free:
            values['largest'] = formats.LARGEST
        threshold = getattr(getattr(self.model, 'decode_head', None), 'threshold', None)
        if threshold is not None:
            values['threshold'] = threshold
        return {key: json.dumps(value) for key, value in values.items()}


def _about(path: Path, format: str, model: nn.Module, part: str) -> str:
    size = sum(file.stat().st_size for file in (path, path.with_name(f'{path.name}.data')) if file.exists())
    weights = sum(p.numel() * p.element_size() for p in getattr(model, part, model).parameters())
    text = f'{size / 1e6:,.1f} MB ({size / weights:.2f} of the weights in PyTorch)'
    if format == 'onnx':
        count = operators(path)
        text += f', {sum(count.values()):,} nodes of {len(count)} standard operators'
        if missing := tensorrt.unsupported(count):
            text += f'; not for TensorRT: {", ".join(missing)}'
    return text
