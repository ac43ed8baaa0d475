#!/usr/bin/env python3
"""Run a model that `mmvision-mamba export` wrote as ONNX: boxes, masks and maps, without torch and without OpenMMLab.

This file needs onnxruntime, NumPy and Pillow, and nothing else of its package: copy it anywhere. Files of the other
formats are run by the same code on torch, see `mmvision_mamba/runtime/loaders.py`.

    python runtime.py model.onnx photo.jpg more_photos/ --out-dir out

    from runtime import Model
    model = Model('model.onnx')
    found = model('photo.jpg')            # a path, a PIL image, or an RGB array (H, W, 3) uint8
    found.boxes, found.scores, found.labels, found.masks

The file's metadata says how to prepare an image and read the outputs, as the config's test pipeline and data
preprocessor do it; every value is JSON:

    task            "detection", "segmentation" or "features"
    classes         names by label
    palette         [[r, g, b], …] by label
    mean, std       of the input's channels, on the scale of the image's values
    channel_order   "RGB" or "BGR", of an input of 3 channels
    resize          {"scale": [w, h], "keep_ratio": true}: the longer side becomes at most the greater of the two and
                    the shorter at most the lesser; with "keep_ratio": false the image becomes w × h; without a scale
                    it stays as it is. It never becomes larger than an input of one size
    scale_factor    [x, y] in place of a scale: the image's sides are multiplied by them
    interpolation   of the resize: "bilinear", "nearest" or "bicubic", as in OpenCV
    to_float32      true: pixels are not rounded after the resize
    pad             {"size": [h, w], "divisor": n, "square": true, "value": [v, …]}: the resized image is padded right
                    and below to at least that size, to a square, to multiples of n, with a value per channel of the
                    input; null: it is not
    batch_pad       {"size": [h, w], "divisor": n, "value": v}: then the normalised image, to at least that size or to
                    multiples of n, with the value v. An input of one size is filled up with v too
    align_corners   whether logits are resized with aligned corners
    mask_threshold  probability from which a pixel belongs to an instance
    mask_stride     masks are of the whole input, a pixel of theirs for so many of its; null: each within its box
    queries         {"instances": n, "things": n, "panoptic": {"score": p, "overlap": p, "sure": false}}: outputs are
                    class_scores, of each query's classes and of none, and the logits of masks of the whole input.
                    Instances, at most so many, are of the first `things` classes; null: there are none. Panoptic
                    segments have at least that score and that share of their mask, "sure": without pixels below a
                    probability of 0.5; null: there are none
    threshold       of a segmentor with a single logit: probability from which a pixel is of class 1
    reduce_zero_label   true: masks of the segmentor's data set count from 1 and call 0 unlabelled, as ADE20K's; so do
                    the maps that are written
    slide           {"crop": [h, w], "stride": [h, w]}: windows that slide over the prepared image, which is padded to
                    at least an input of one size; null: the whole image
    smallest, largest   pixels a side, if height and width are open
    bands           {"numbers": [n, …], "fill": [v, …], "shown": [i, i, i], "file_bands": n, "dtype": "uint16"}: of an
                    image file these bands are taken, counted from 1, as float32; NaN and what the file says stands for
                    no data become `fill`; pictures have those at the positions `shown`. Files must have so many bands
                    of this type; null: any
    weights         CRC-32 of the file of weights, where these lie beside this one
    inputs, outputs     names of both, {name: {"type": "float32", "shape": [n, c, h, w]}} and [name, …], null: any

Files of earlier versions lack `batch_pad`: of open sizes, a segmentor takes the image as it is, from 32 pixels a side
up, a backbone multiples of 32, with `pad_value` (scale 0 to 255; null: what is normalised to 0) as padding. They lack
`reduce_zero_label` too, so pixels of the maps that they write are labels.

A model whose input is uint8 (exported --with-preprocess) takes any image as it is and does all of this itself.
"""
from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import logging
import os
import re
import reprlib
import sys
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

try:
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
except ImportError as missing:
    if __name__ != '__main__':
        raise
    sys.exit(f'error: {missing.name} is not installed: pip install onnxruntime numpy pillow')

SUFFIXES = '.bmp', '.gif', '.jpeg', '.jpg', '.npy', '.png', '.tif', '.tiff', '.webp'
FORMATS = 'AVIF', 'BMP', 'GIF', 'JPEG', 'JPEG2000', 'PNG', 'PPM', 'TIFF', 'WEBP'  # Pillow's names
ENTRY_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
MARKERS = {0xff00 + marker for marker in (0x51, 0x52, 0x53, 0x55, 0x57, 0x58, 0x5c, 0x5d, 0x5e, 0x5f, 0x60, 0x61, 0x63,
                                          0x64, 0x74, 0x75, 0x77, 0x78)}  # of JPEG 2000 headers
INSTANCE_OFFSET = 1000  # of a panoptic map: see `Detections`
MOST_SEGMENTS = 4096  # of a panoptic map: each is looked for in the whole map; models have some hundreds of queries
MOST_PARTS = 2**18  # of an image: chunks, segments, blocks; a PNG of 2 GiB has as many
PIXELS_VARIABLE = 'OPENCV_IO_MAX_IMAGE_PIXELS'
BAND_TYPES = 'uint8', 'uint16', 'int16', 'float32'  # of values in files of bands
TYPES = {'tensor(float)': 'float32', 'tensor(float16)': 'float16', 'tensor(double)': 'float64',
         'tensor(uint8)': 'uint8', 'tensor(int64)': 'int64'}


class RuntimeInputError(ValueError):
    """A model or an image that can't be used; the message names it."""


@dataclass
class Detections:
    """Instances of one image, best first.

    Attributes:
        boxes: ``(n, 4)`` float32, x1, y1, x2, y2 in pixels of the image.
        scores: ``(n,)`` float32.
        labels: ``(n,)`` int64, positions in `classes`.
        masks: ``(n, H, W)`` bool, or None where the model has no masks.
        classes: the model's class names.
        panoptic: ``(H, W)`` int64, label + 1000 · number of the instance, which stuff has not, and the number of
            classes where no segment is; or None where the model has no panoptic map.
    """
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None
    classes: Sequence[str] = field(default=(), repr=False)
    panoptic: np.ndarray | None = None

    def above(self, score: float) -> Detections:
        """The detections with at least this score; the panoptic map stays as it is."""
        keep = self.scores >= score
        masks = None if self.masks is None else self.masks[keep]
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep], masks, self.classes, self.panoptic)

    def to_json(self) -> list[dict]:
        """One dict per instance: label, name, score, box, and the mask as COCO's uncompressed run lengths."""
        instances = []
        for i, label in enumerate(self.labels.tolist()):
            instances.append(dict(label=label, name=_name(self.classes, label), score=round(float(self.scores[i]), 6),
                                  box=[round(float(v), 3) for v in self.boxes[i]]))
            if self.masks is not None:
                instances[-1]['mask'] = run_lengths(self.masks[i])
        return instances


@dataclass
class Session:
    """A loaded file.

    Attributes:
        run: called with an array per input, by name; returns the list of the outputs.
        inputs: name -> type, such as 'float32', and shape, with None for an open side.
        outputs: names.
        metadata: see above, values as JSON.
    """
    run: Callable[[dict[str, np.ndarray]], list[np.ndarray]]
    inputs: dict[str, tuple[str, list[int | None]]]
    outputs: list[str]
    metadata: dict[str, str]


def onnx_session(path: str | Path, providers: Sequence[str], threads: int | None) -> Session:
    """Load an ONNX file, see `Model`."""
    try:
        import onnxruntime  # only here: torch runs the other formats
    except ImportError:
        raise RuntimeInputError('onnxruntime is not installed: pip install onnxruntime') from None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised; its log would hold names of the file as they are
    onnxruntime.set_default_logger_severity(4)  # that of its allocators, which is nobody's session
    if threads:
        options.intra_op_num_threads = threads
    try:
        loaded = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        metadata = loaded.get_modelmeta().custom_metadata_map  # fails where it is not UTF-8
    except Exception as error:  # onnxruntime's own exceptions have no common base
        raise RuntimeInputError(f'{path} can not be loaded: {_one_line(error)[:300]}') from error
    check_weights(path, Path(f'{path}.data'), metadata)

    def run(feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        try:
            return loaded.run(None, feed)
        except Exception as error:  # the same
            raise RuntimeInputError(f'{path} can not be run on this image: {_one_line(error)[:300]}') from error
    return Session(run,
                   {entry.name: (TYPES.get(entry.type, entry.type), [n if isinstance(n, int) else None
                                                                     for n in entry.shape])
                    for entry in loaded.get_inputs()},
                   [entry.name for entry in loaded.get_outputs()], metadata)


def check_weights(path: str | Path, weights: Path, metadata: dict[str, str]) -> None:
    """Raise RuntimeInputError where the file of weights beside a graph is not the one that the graph was written with.

    Of an earlier version's graph, which doesn't say, nothing is checked.

    Args:
        path: the graph's file.
        weights: the file beside it.
        metadata: of the graph.
    """
    if 'weights' in metadata and weights.is_file() and str(checksum(weights)) != metadata['weights']:
        raise RuntimeInputError(f'{weights} does not hold the weights of {path}: it is damaged, or of another export.\n'
                                'Copy both from where they were exported to, or export the model again')


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    found = 0
    with path.open('rb') as file:
        while block := file.read(2**20):
            found = zlib.crc32(block, found)
    return found


class Model:
    """A detector, segmentor or backbone in a file written by `mmvision-mamba export`.

    Args:
        path: the ONNX file.
        providers: onnxruntime's execution providers. Default: the CPU.
        threads: to compute with. Default: onnxruntime's choice, one per core.
        session: the file if it is loaded already; the path is then for messages alone. Default: it is not.

    Raises:
        RuntimeInputError: no such file, not an ONNX model, or one that `mmvision-mamba export` did not write.
    """

    def __init__(self, path: str | Path, providers: Sequence[str] = ('CPUExecutionProvider',),
                 threads: int | None = None, session: Session | None = None):
        if not os.path.isfile(path):
            raise RuntimeInputError(f'{path}: no such file')
        self.session = session or onnx_session(path, providers, threads)
        self.path, meta = path, read_metadata(self.session.metadata, path)
        dtype, shape = _checked_input(self.session, meta, path)
        self.task = meta['task']
        self.classes, self.palette = meta.get('classes') or [], meta.get('palette') or []
        self.mean, self.std = (np.array(meta.get(key, value), np.float32) for key, value in (('mean', 0), ('std', 1)))
        self.channel_order = meta.get('channel_order', 'RGB')
        self.resize_rule = dict(meta.get('resize') or {}, scale_factor=meta.get('scale_factor'))
        self.interpolation, self.to_float32 = meta.get('interpolation', 'bilinear'), meta.get('to_float32', False)
        self.pad, self.batch_pad = meta.get('pad'), meta.get('batch_pad')
        if self.batch_pad is None:  # of an earlier version
            value = meta.get('pad_value')
            self.batch_pad = dict(value=0. if value is None else (value - self.mean) / self.std, size=[32, 32],
                                  divisor=32 if self.task == 'features' else 1)
        self.align_corners = meta.get('align_corners', False)
        self.mask_threshold, self.threshold = meta.get('mask_threshold', 0.5), meta.get('threshold', 0.5)
        self.mask_stride, self.queries = meta.get('mask_stride'), meta.get('queries')
        self.slide, self.reduce_zero_label = meta.get('slide'), meta.get('reduce_zero_label', False)
        self.bands = meta.get('bands')
        self.bilinear: Callable = bilinear  # of logits; another that does the same may take its place
        self.smallest, self.largest = meta.get('smallest', 1), meta.get('largest')
        self.takes_images = dtype == 'uint8'  # resizes and normalises by itself
        self.dtype = dtype
        if self.takes_images:
            self.channels = shape[2] or 3
        else:
            self.batch, self.channels, *sides = shape
            self.input_size = tuple(sides)  # height, width; None: any
            if 'batch_pad' not in meta and None not in sides and not self.resize_rule.get('scale'):
                self.resize_rule['scale'] = sides  # of an earlier version: as large as the input

    def __call__(self, image) -> Detections | np.ndarray | list[np.ndarray]:
        """Predict on one image.

        Args:
            image: a path, a PIL image, or an RGB array ``(H, W, 3)`` uint8; for a model of other than 3 channels see
                `read_image`.

        Returns:
            For a detector `Detections`; for a segmentor the label map ``(H, W)`` int64 of the image; for a backbone the
            feature maps ``(1, C_i, H_i, W_i)`` of the padded input.

        Raises:
            RuntimeInputError: not an image, or one smaller or larger than the model takes; or the model gives NaN.
        """
        image = read_image(image, self.channels, self.bands)
        with self._checked():
            result = self._predict(image)
            self._check_result(result, image.shape[:2])
        return result

    @property
    def has_logits(self) -> bool:
        """Whether it is a segmentor's file with logits, not labels alone."""
        return self.task == 'segmentation' and 'logits' in self.session.outputs

    def logits(self, image) -> np.ndarray:
        """A segmentor's logits for an image, ``(C, h, w)`` in the size that the image has in the input.

        Resized to the image they give its label map: the largest of C, or a threshold of their sigmoid where C is 1.

        Args:
            image: as for `__call__`.

        Raises:
            RuntimeInputError: as `__call__`; or the file has labels alone, see `has_logits`.
        """
        if not self.has_logits:
            raise RuntimeInputError(f'{self.path}: it has no logits, got {_short(self.session.outputs)}')
        image = read_image(image, self.channels, self.bands)
        with self._checked():
            if self.takes_images:
                logits = self._outputs({next(iter(self.session.inputs)): image})['logits']
            else:
                tensor, size, _ = self.prepare(image)
                logits = self._slide(tensor) if self.slide else self._enlarged(
                    self._run(tensor, size)['logits'], tensor.shape[2:])
                logits = logits[:, :size[0], :size[1]]
            if logits.ndim != 3 or logits.dtype.kind != 'f' or 0 in logits.shape:
                raise ValueError(f'logits must be (C, h, w), got {logits.dtype} {logits.shape}')
            if self.classes and len(logits) > len(self.classes):
                raise ValueError(f'{len(self.classes)} classes in its metadata, and logits of {len(logits)}')
        return logits

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        """For what computes a result: what goes wrong is the file's fault, and the error says so."""
        try:
            yield
        except RuntimeInputError:
            raise
        except (ArithmeticError, LookupError, MemoryError, TypeError, ValueError) as error:
            problem = 'more memory than there is' if isinstance(error, MemoryError) else _one_line(error)[:200]
            raise RuntimeInputError(f'{self.path} does not give what its metadata says ({problem}): export the model '
                                    'again') from error

    def _check_result(self, result, shape: tuple[int, int]) -> None:
        """Check what a file gave for an image of this height and width, whatever computed it.

        Raises:
            ValueError: arrays of other shapes or types, or with numbers that are not finite.
            RuntimeInputError: labels that the metadata's classes don't have: the names would be others'.
        """
        if isinstance(result, list):
            return
        labels = result
        if isinstance(result, Detections):
            self._check_panoptic(result.panoptic, shape)
            labels, number = result.labels, result.scores.size
            arrays = dict(boxes=(result.boxes, (number, 4)), scores=(result.scores, (number,)))
            for name, (array, expected) in arrays.items():
                if array.shape != expected or array.dtype.kind != 'f' or not np.isfinite(array).all():
                    raise ValueError(f'{name} must be finite, of shape {expected}, got {array.dtype} {array.shape}')
            if result.masks is not None and result.masks.shape != (number, *shape):
                raise ValueError(f'masks must be of shape {(number, *shape)}, got {result.masks.shape}')
            shape = (number,)
        if labels.shape != shape or labels.dtype.kind not in 'iu' or (labels.size and not (
                labels.min() >= 0 and labels.max() < 2**16)):
            raise ValueError(f'labels must be whole numbers from 0 to 65535, of shape {shape}, got {labels.dtype} '
                             f'{labels.shape}')
        least = 1 if isinstance(result, Detections) else 2  # a segmentor of one class has another for the rest
        nameless = labels[labels >= max(len(self.classes), least)] if self.classes else labels[:0]
        if not isinstance(result, Detections):
            nameless = nameless[nameless != 255]  # pixels of no class
        if nameless.size:
            raise RuntimeInputError(f'{self.path}: classes in its metadata must be the names of all labels, got '
                                    f'{len(self.classes)} names and the label {nameless.max()}: export the model again')

    def _check_panoptic(self, ids: np.ndarray | None, shape: tuple[int, int]) -> None:
        if ids is None:
            return
        if ids.shape != shape or ids.dtype.kind not in 'iu' or ids.min() < 0 or ids.max() >= 2**31:
            raise ValueError(f'panoptic must be whole numbers, of shape {shape}, got {ids.dtype} {ids.shape}')
        if self.classes and int((ids % INSTANCE_OFFSET).max()) > len(self.classes):
            raise ValueError(f'{len(self.classes)} classes in its metadata, and a panoptic map of more')
        if (number := np.unique(ids).size) > MOST_SEGMENTS:
            raise ValueError(f'a panoptic map of {number} segments, and {MOST_SEGMENTS} are allowed')

    def _predict(self, image: np.ndarray) -> Detections | np.ndarray | list[np.ndarray]:
        if self.takes_images:
            if image.dtype != np.uint8:
                raise RuntimeInputError(f'the model takes uint8 images, got {image.dtype}')
            outputs = self._outputs({next(iter(self.session.inputs)): image})
            return self._result_on_image(outputs, image.shape[:2])
        tensor, size, resized = self.prepare(image)
        if self.slide:
            return self._label_map(self._slide(tensor)[:, :size[0], :size[1]], image.shape[:2])
        outputs = self._run(tensor, size)
        if self.task == 'features':
            return list(outputs.values())
        if self.queries:
            return results_of_queries(outputs['class_scores'][0], outputs['masks'][0], self.queries, tensor.shape[2:],
                                      size, image.shape[:2], self.classes, self.bilinear)
        if self.mask_stride:
            return self._detections(outputs, resized, image.shape[:2], size)
        if self.task == 'detection':
            return self._detections(outputs, resized, image.shape[:2])
        maps = next(iter(outputs.values()))
        if maps.dtype.kind != 'f' and size == image.shape[:2]:
            return maps.reshape(maps.shape[-2:])[:size[0], :size[1]].astype(np.int64)
        if maps.dtype.kind != 'f' and 'logits' not in outputs:  # of an earlier version
            return _nearest(maps.reshape(maps.shape[-2:])[:size[0], :size[1]], image.shape[:2])
        logits = self._enlarged(outputs.get('logits', maps), tensor.shape[2:])
        return self._label_map(logits[:, :size[0], :size[1]], image.shape[:2])

    def _enlarged(self, logits: np.ndarray, size: Sequence[int]) -> np.ndarray:
        """The first ``(C, h, w)`` of logits ``(1, C, h, w)``, in the input's size."""
        return self.bilinear(logits[0], size, self.align_corners)

    def _run(self, tensor: np.ndarray, size: Sequence[int]) -> dict[str, np.ndarray]:
        """The outputs, by name, for an input ``(1, C, h, w)`` whose image has this height and width in it."""
        images, *others = self.session.inputs
        feed = {images: np.repeat(tensor, self.batch or 1, 0).astype(self.dtype)}
        if others:
            feed[others[0]] = np.repeat(np.array([size], np.int64), self.batch or 1, 0)
        return {name: value[:1] for name, value in self._outputs(feed).items()}

    def _outputs(self, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs by name. NaN in them is an error: as a label it would be the first class, as a score nothing."""
        outputs = dict(zip(self.session.outputs, self.session.run(feed)))
        for name, values in outputs.items():
            if not isinstance(values, np.ndarray) or values.dtype.kind not in 'biuf':  # a list, a map, None; texts
                raise ValueError(f'{name} must be an array of numbers, got {_short(values)}')
            if values.dtype.kind == 'f' and values.size and np.isnan(values.min()):  # NaN passes through min
                raise RuntimeInputError(f'{self.path}: {name} are NaN for this image: so are weights of the model, or '
                                        'numbers became too large for float16. Export an intact checkpoint, or without '
                                        '--fp16')
        return outputs

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, tuple[int, int], tuple[int, int]]:
        """An image ``(H, W, C)``, RGB if it has 3 channels, as the model takes it.

        Returns:
            The input, float32 ``(1, C, h, w)``; the height and width of the image in it, with the padding of the test
            pipeline, which the model takes for a part of the image; and without.

        Raises:
            RuntimeInputError: it is smaller or larger than the model takes.
        """
        limits = (None, None) if self.slide else self.input_size
        height, width = resized(*image.shape[:2], limits, **self.resize_rule)
        self._check_size(height, width)
        if self.channel_order == 'BGR' and self.channels == 3:
            image = image[..., ::-1]
        pixels = resize(image.astype(np.float32) if self.to_float32 else image, height, width, self.interpolation)
        size = padded(height, width, **{key: (self.pad or {}).get(key) for key in ('size', 'divisor', 'square')})
        size = tuple(min(n, limit or n) for n, limit in zip(size, limits))
        self._check_size(*size)
        if size != (height, width):
            pixels = _filled(pixels, size, self.pad['value'])
        pixels = (pixels.astype(np.float32) - self.mean) / self.std
        out = padded(*size, **{key: self.batch_pad.get(key) for key in ('size', 'divisor')})
        out = tuple(limit or n for n, limit in zip(out, limits))
        if self.slide and None not in self.input_size:
            out = tuple(map(max, out, self.input_size))
        self._check_size(*out)
        if self.largest and max(out) > self.largest and not self.slide:
            raise RuntimeInputError(f'the model takes {self.largest} pixels a side at most, got {out[0]} × {out[1]}: '
                                    'scale the image down')
        if min(out) < self.smallest and None in limits:
            raise RuntimeInputError(f'the model takes {self.smallest} pixels a side or more, and this image of '
                                    f'{image.shape[0]} × {image.shape[1]} is {out[0]} × {out[1]} in its input: crop or '
                                    'enlarge it')
        tensor = _filled(pixels, out, self.batch_pad['value']).transpose(2, 0, 1)[None]
        return np.ascontiguousarray(tensor), size, (height, width)

    def _check_size(self, height: int, width: int) -> None:
        if height * width > MOST_PIXELS:
            raise RuntimeInputError(f'{self.path}: as its metadata says, the image becomes {height} × {width} pixels, '
                                    f'and {MOST_PIXELS} are allowed: use a smaller image, or export the model again')

    def _slide(self, tensor: np.ndarray) -> np.ndarray:
        """Logits ``(C, h, w)`` of the input, the mean over windows that slide over it."""
        shape = tensor.shape[2:]
        total, count = 0., np.zeros(shape, np.float32)
        places = []
        for side, crop, stride in zip(shape, self.slide['crop'], self.slide['stride']):
            ends = [min(side, i * stride + crop) for i in range(max(side - crop + stride - 1, 0) // stride + 1)]
            places.append([slice(max(0, end - crop), end) for end in ends])
        for rows in places[0]:
            for columns in places[1]:
                window = np.ascontiguousarray(tensor[:, :, rows, columns])
                logits = self._enlarged(self._run(window, window.shape[2:])['logits'], window.shape[2:])
                if not count.any():
                    total = np.zeros((len(logits), *shape), np.float32)
                total[:, rows, columns] += logits
                count[rows, columns] += 1
        return total / count

    def _result_on_image(self, outputs: dict[str, np.ndarray], shape: tuple[int, int]):
        """Result of a model with its own pre- and postprocessing, whose outputs are in the image's coordinates."""
        if self.task == 'detection':
            panoptic = outputs.get('panoptic') if self.queries else None
            if 'boxes' not in outputs:
                return no_instances(shape, self.classes, panoptic)
            masks = outputs.get('masks')
            return Detections(outputs['boxes'], outputs['scores'], outputs['labels'],
                              None if masks is None else masks.astype(bool), self.classes, panoptic)
        values = list(outputs.values())
        if self.task == 'features':
            return values
        return values[0] if values[0].dtype.kind != 'f' else self._label_map(values[0], shape)

    def _detections(self, outputs: dict[str, np.ndarray], size: tuple[int, int], shape: tuple[int, int],
                    crop: tuple[int, int] | None = None) -> Detections:
        """Boxes and masks of the image ``shape`` from those of the input, in which it has the ``size``.

        Masks of the whole input are cut to `crop`, the size with the test pipeline's padding.
        """
        valid = outputs['labels'][0] >= 0
        boxes = outputs['boxes'][0][valid].astype(np.float32)
        boxes /= np.array([size[1] / shape[1], size[0] / shape[0]] * 2, np.float32)
        masks = None
        if 'masks' in outputs:
            probabilities = outputs['masks'][0][valid].astype(np.float32)
            if crop:
                sides = [side * self.mask_stride for side in probabilities.shape[1:]]
                self._check_size(*sides)
                found = [enlarged(mask, sides, crop, shape, self.bilinear) > self.mask_threshold
                         for mask in probabilities]
            else:
                found = [paste(mask, box, shape) >= self.mask_threshold for mask, box in zip(probabilities, boxes)]
            masks = np.stack(found) if found else np.zeros((0, *shape), bool)
        return Detections(boxes, outputs['scores'][0][valid].astype(np.float32), outputs['labels'][0][valid], masks,
                          self.classes)

    def _label_map(self, logits: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """The label map of the image from its logits ``(C, h, w)``, some rows at a time."""
        labels, step = np.empty(shape, np.int64), max(1, 2**24 // (len(logits) * shape[1]))
        for start in range(0, shape[0], step):
            rows = slice(start, start + step)
            part = self.bilinear(logits.astype(np.float32, copy=False), shape, self.align_corners, rows)
            labels[rows] = part.argmax(0) if len(part) > 1 else 0.5 * np.tanh(0.5 * part[0]) + 0.5 > self.threshold
        return labels

    def draw(self, image, found, score_thr: float = 0.3, alpha: float = 0.5) -> Image.Image:
        """Draw a result of the model on its image.

        Args:
            image: as given to the model.
            found: the result, `Detections` or a label map ``(H, W)``. Of a panoptic one the segments are drawn.
            score_thr: instances with a lower score are left out.
            alpha: opacity of masks and maps.
        """
        image = as_picture(read_image(image, self.channels, self.bands), self.bands)
        if not isinstance(found, Detections):
            return Image.fromarray(_blend(image, self.colours(found.max() + 1)[found], alpha, True))
        if found.panoptic is not None:
            return Image.fromarray(self._panoptic_picture(image, found.panoptic, alpha))
        found = found.above(score_thr)
        colours = self.colours(max(found.labels, default=0) + 1)
        for i in reversed(range(len(found.scores))):
            if found.masks is not None:
                image = _blend(image, colours[found.labels[i]], alpha, found.masks[i])
        picture = Image.fromarray(image)
        pen, line = ImageDraw.Draw(picture), max(1, round(min(picture.size) / 250))
        font = ImageFont.load_default(max(9, min(picture.size) // 40))
        for i in reversed(range(len(found.scores))):
            colour = tuple(colours[found.labels[i]].tolist())
            x1, y1, x2, y2 = found.boxes[i].tolist()
            pen.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=line)
            text = f'{_name(found.classes, int(found.labels[i]))} {found.scores[i]:.2f}'
            _, _, right, bottom = pen.textbbox((0, 0), text, font)
            at = max(0, min(x1, picture.width - right)), max(0, y1 - bottom - 1)
            pen.rectangle((at[0], at[1], at[0] + right, at[1] + bottom), fill=colour)
            pen.text(at, text, fill='white' if sum(colour) < 400 else 'black', font=font)
        return picture

    def _panoptic_picture(self, image: np.ndarray, ids: np.ndarray, alpha: float) -> np.ndarray:
        """Segments in the colours of their classes, with white between them."""
        labels, segments = ids % INSTANCE_OFFSET, np.unique(ids)
        none = len(self.classes) or int(labels.max()) + 1  # without names all are drawn
        mixed = _blend(image, self.colours(int(labels.max()) + 1)[labels], alpha, labels < none)
        edge = np.zeros(ids.shape, bool)
        if len(segments) > 1:
            edge[:, 1:] |= ids[:, 1:] != ids[:, :-1]
            edge[1:] |= ids[1:] != ids[:-1]
        mixed[edge] = 255
        return mixed

    def map_image(self, labels: np.ndarray) -> Image.Image:
        """The image file of a label map ``(H, W)``, as `mmvision-mamba infer` writes it.

        A pixel has the value that it would have in a mask of the data set: its label, or with `reduce_zero_label` its
        label + 1. Of 8 bits, with the palette; of 16 bits and without palette for more than 255 classes.
        """
        values, count = labels + self.reduce_zero_label, max(len(self.classes), int(labels.max()) + 1)
        if count > 255:
            return Image.fromarray(values.astype(np.uint16))
        image = Image.fromarray(values.astype(np.uint8))
        image.putpalette([0] * 3 * self.reduce_zero_label + self.colours(count).ravel().tolist())
        return image

    def colours(self, count: int) -> np.ndarray:
        """RGB ``(≥ count, 3)`` uint8: the palette, and well-spread colours where it is too short."""
        palette = np.array(self.palette, np.uint8).reshape(-1, 3)
        hues = (np.arange(len(palette), max(count, len(palette))) * 0.618034) % 1
        spread = np.abs((hues[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
        return np.concatenate([palette, (np.clip(spread, 0, 1) * 200 + 30).astype(np.uint8)])


MOST_PIXELS = 2**28  # of an input
_LONGEST = 2**24  # characters of a value in the metadata


def _is_number(value, least: float = -1e30, most: float = 1e30) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and least <= value <= most


def _is_side(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 2**16


def _is_list(value, fits: Callable, length: int | None = None) -> bool:
    return isinstance(value, list) and (length is None or len(value) == length) and all(map(fits, value))


def _is_pair(value) -> bool:
    return value is None or _is_list(value, _is_side, 2)


def _is_share(value) -> bool:
    return _is_number(value, 0, 1)


def _is_flag(value) -> bool:
    return isinstance(value, bool)


def _is_value(value) -> bool:
    return _is_number(value) or _is_list(value, _is_number)


def _is_dict(value, /, **fits: Callable) -> bool:
    return value is None or (isinstance(value, dict) and all(
        key in fits and fits[key](item) for key, item in value.items()))


def _is_padding(value) -> bool:
    return _is_dict(value, size=_is_pair, divisor=lambda n: n is None or _is_side(n), square=lambda flag:
                    flag is None or _is_flag(flag), value=_is_value) and (value is None or 'value' in value)


def _are_bands(value) -> bool:
    return value is None or (_is_dict(
        value, numbers=lambda numbers: _is_list(numbers, _is_side), fill=lambda fill: _is_list(fill, _is_number),
        shown=lambda places: places is None or _is_list(places, lambda i: isinstance(i, int) and _is_number(
            i, 0, 2**16), 3),
        file_bands=lambda n: n is None or _is_side(n), dtype=lambda name: name is None or name in BAND_TYPES)
        and len(value.get('numbers') or ()) == len(value.get('fill') or ()) > max(value.get('shown') or [0]))


def _are_queries(value) -> bool:
    return value is None or (_is_dict(
        value, instances=lambda n: n is None or _is_side(n), things=lambda n: n == 0 or _is_side(n),
        panoptic=lambda rule: _is_dict(rule, score=_is_share, overlap=_is_share, sure=_is_flag) and (
            rule is None or len(rule) == 3)) and 'things' in value and bool(
                value.get('instances') or value.get('panoptic')))


def _is_slide(value) -> bool:
    return value is None or (
        _is_dict(value, crop=_is_pair, stride=_is_pair) and all(value.get(key) for key in ('crop', 'stride'))
        and all(map(int.__le__, value['stride'], value['crop'])))


_FLAG, _SHARE = ('true or false', _is_flag), ('a number from 0 to 1', _is_share)
# Key -> what it must be, and whether a value is that.
METADATA: dict[str, tuple[str, Callable]] = dict(
    task=('"detection", "segmentation" or "features"', lambda value: value in TASKS),
    classes=('names of at most 1000 characters', lambda value: value is None or _is_list(
        value, lambda name: isinstance(name, str) and len(name) <= 1000)),
    palette=('colours, [red, green, blue] from 0 to 255', lambda value: value is None or _is_list(
        value, lambda colour: _is_list(colour, lambda v: isinstance(v, int) and _is_number(v, 0, 255), 3))),
    mean=('a number, or one for each channel', _is_value),
    std=('a number above 0, or one for each channel', lambda value: _is_value(value) and all(
        n > 1e-9 for n in (value if isinstance(value, list) else [value]))),
    channel_order=('"RGB" or "BGR"', lambda value: value in ('RGB', 'BGR')),
    resize=('a scale, [w, h], and whether to keep_ratio', lambda value: _is_dict(
        value, scale=_is_pair, keep_ratio=_is_flag)),
    scale_factor=('[x, y] above 0, or null', lambda value: value is None or _is_list(
        value, lambda factor: _is_number(factor, 1e-6, 1e6), 2)),
    interpolation=('"bilinear", "nearest" or "bicubic"', lambda value: value in ('bilinear', 'nearest', 'bicubic')),
    to_float32=_FLAG, align_corners=_FLAG, reduce_zero_label=_FLAG,
    pad=('a size, divisor, square and value, or null', _is_padding),
    batch_pad=('a size, divisor and value, or null', _is_padding),
    pad_value=('a number, one for each channel, or null', lambda value: value is None or _is_value(value)),
    bands=('numbers of bands from 1, fill for each, shown, file_bands and dtype, or null', _are_bands),
    mask_threshold=_SHARE, threshold=_SHARE,
    mask_stride=('a number of pixels, or null', lambda value: value is None or _is_side(value)),
    queries=('instances, things and panoptic, or null', _are_queries),
    slide=('a crop, [h, w], and a stride that is no larger, or null', _is_slide),
    smallest=('a number of pixels', _is_side),
    largest=('a number of pixels, or null', lambda value: value is None or _is_side(value)))
TASKS = {'detection': ('boxes', 'scores', 'labels'), 'segmentation': (), 'features': ()}  # and the outputs they need


def read_metadata(metadata: dict[str, str], path: str | Path) -> dict:
    """The metadata of a file as this one uses it, each value checked.

    Raises:
        RuntimeInputError: a value is no JSON, or not what `METADATA` says; names file and key.
    """
    if 'task' not in metadata:
        raise RuntimeInputError(f"{path}: no 'task' in its metadata: `mmvision-mamba export` writes one")
    meta = {}
    for key, (expected, fits) in METADATA.items():
        if key not in metadata:
            continue
        text = metadata[key]
        try:
            value = json.loads(text) if len(text) <= _LONGEST else ...
            right = value is not ... and fits(value)
        except (ValueError, TypeError, RecursionError):  # of another kind, or nested too deep
            right = False
        if not right:
            raise RuntimeInputError(f'{path}: {key} in its metadata must be {expected}, got {_short(text)}\n'
                                    'Export the model again: `mmvision-mamba export` writes it')
        meta[key] = value
    return meta


def _checked_input(session: Session, meta: dict, path: str | Path) -> tuple[str, list[int | None]]:
    """Type and shape of the images that a file takes; checks its outputs and the metadata of its channels, too."""
    dtype, shape = next(iter(session.inputs.values()), ('nothing', []))
    sides = 3 if dtype == 'uint8' else 4
    if dtype not in ('uint8', 'float16', 'float32', 'float64') or len(shape) != sides or not all(
            side is None or _is_side(side) for side in shape) or (sides == 4 and shape[1] is None):
        raise RuntimeInputError(f'{path}: its first input must be images, (H, W, C) uint8 or (N, C, H, W) float, got '
                                f'{_short([dtype, shape])}')
    channels = shape[1] if sides == 4 else shape[2] or 3
    for key, value in (('mean', meta.get('mean')), ('std', meta.get('std')), ('pad_value', meta.get('pad_value')), *(
            (key, (meta.get(key) or {}).get('value')) for key in ('pad', 'batch_pad'))):
        if isinstance(value, list) and len(value) not in (1, channels):
            raise RuntimeInputError(f'{path}: {key} in its metadata must be for {channels} channels, got '
                                    f'{_short(value)}\nExport the model again: `mmvision-mamba export` writes it')
    if meta.get('bands') and len(meta['bands']['numbers']) != channels:
        raise RuntimeInputError(f'{path}: bands in its metadata must be for {channels} channels, got '
                                f'{_short(meta["bands"])}\nExport the model again: `mmvision-mamba export` writes it')
    needed = (*TASKS[meta['task']], *(['logits'] if meta.get('slide') else []))
    if queries := meta.get('queries') if meta['task'] == 'detection' else None:
        ready = (*(TASKS['detection'] if queries.get('instances') else ()),
                 *(['panoptic'] if queries.get('panoptic') else []))
        if queries.get('panoptic') and not meta.get('classes'):  # their number stands for pixels of none
            raise RuntimeInputError(f'{path}: classes in its metadata must be names, of a panoptic model, got none: '
                                    'export the model again')
        needed = ready if dtype == 'uint8' else ('class_scores', 'masks')
    elif meta.get('mask_stride'):
        needed = *needed, 'masks'
    if not session.outputs or not set(needed) <= set(session.outputs):
        raise RuntimeInputError(f'{path}: its outputs must be {", ".join(needed) or "there"}, got '
                                f'{_short(session.outputs)}')
    if (meta.get('largest') or 2**16) < meta.get('smallest', 1):
        raise RuntimeInputError(f'{path}: largest in its metadata must be at least smallest, got {meta["largest"]}')
    return dtype, shape


def _short(value) -> str:
    return reprlib.repr(value)


def read_image(image, channels: int = 3, bands: dict | None = None) -> np.ndarray:
    """A path, a PIL image or an array as the array ``(H, W, channels)`` that a model is given.

    Args:
        image: of 3 channels, RGB uint8; files are turned as their EXIF says, and 16 bits become 8. Of another number,
            an array, a .npy file of one or an image whose file has as many (.tif, .png), uint8, uint16 or float, in the
            order and on the scale that the model was trained with. With `bands`, the same, and an image may have more.
        channels: of the model. Default: 3.
        bands: which of them, see the metadata of a file; the array is float32 then. Default: all.

    Raises:
        RuntimeInputError: what can't be read as an image, or has another number of channels.
    """
    name = 'an image array' if isinstance(image, np.ndarray) else str(image)
    if isinstance(image, np.ndarray):
        array = image
    elif str(image).lower().endswith('.npy'):
        array = _opened(image, lambda: _array(image))
    elif bands:
        return _opened(image, lambda: _bands(image, bands))
    else:
        array = _opened(image, lambda: _decoded(image, channels))
    if (channels != 3 or bands) and array.ndim == 2:
        array = array[..., None]
    if channels == 3 and not bands:
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or 0 in array.shape:
            raise RuntimeInputError(f'{name}: an image array is RGB (H, W, 3) uint8, got {array.shape} {array.dtype}')
    elif array.ndim != 3 or array.shape[2] != channels or 0 in array.shape \
            or array.dtype not in (np.uint8, np.uint16, np.float32, np.float64, *((np.int16,) if bands else ())):
        raise RuntimeInputError(f'{name}: the model takes (H, W, {channels}), uint8, uint16 or float, got '
                                f'{array.shape} {array.dtype}')
    if bands:
        return _without_gaps(array, None, bands['fill'])
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _bands(image, bands: dict) -> np.ndarray:
    """The bands of an image file, or a PIL image, as float32 ``(H, W, n)``."""
    nodata = None
    if str(image).lower().endswith(('.tif', '.tiff')):
        try:
            import tifffile  # Pillow has no images of many bands
        except ImportError:
            raise ValueError('bands of a TIFF need tifffile: pip install tifffile') from None
        logging.getLogger('tifffile').addFilter(_no_line_of_nodata)
        with tifffile.TiffFile(image) as file:
            page = file.pages[0]
            pages = _band_pages(file)
            _check_size(page.imagewidth * page.imagelength * page.samplesperpixel * len(pages), 4 * most_pixels())
            if page.photometric not in (1, 2, 6) or page.tags.valueof(274, 1) != 1:
                raise ValueError('its colours are no bands, or it is turned: save it upright, in grey or RGB')
            values = page.asarray() if len(pages) == 1 else np.stack([one.asarray() for one in pages], -1)
            if page.samplesperpixel > 1 and page.planarconfig == 2:
                values = np.moveaxis(values, 0, -1)
            values = values.reshape(page.imagelength, page.imagewidth, page.samplesperpixel * len(pages))
            text = str(page.tags.valueof(42113, '')).strip('\0 ')  # GDAL's
            nodata = float(text) if re.fullmatch(r'[-+]?\d[\d.]*(e[-+]?\d+)?', text, re.IGNORECASE) else None
    else:
        picture = image if isinstance(image, Image.Image) else _picture(image)
        _check_values(picture, len(bands['numbers']))
        if _has_16_bits(picture) and len(picture.getbands()) > 1:
            raise ValueError('its colours have 16 bits, of which Pillow reads 8: save it as a TIFF or a .npy file')
        if picture.mode == 'CMYK':
            raise ValueError('its colours are CMYK, of which decoders make others: save it in RGB, or as a TIFF')
        if picture.format == 'GIF':  # a palette, even of grey or of 1 bit; one of its colours may be transparent
            picture = picture.convert('RGB')
        elif picture.mode == '1':
            picture = picture.convert('L')
        elif picture.mode == 'P' or (picture.mode == 'RGB' and 'transparency' in picture.info):
            picture = picture.convert('RGBA' if 'transparency' in picture.info else 'RGB')
        values = np.array(picture)
        values = values.astype(np.uint16) if values.dtype == np.int32 else values
        values = values[..., None] if values.ndim == 2 else values
    count, dtype = values.shape[2], values.dtype.name
    if dtype not in BAND_TYPES or max(bands['numbers']) > count or count != (bands.get('file_bands') or count) \
            or dtype != (bands.get('dtype') or dtype):
        expected = f'{bands.get("file_bands") or max(bands["numbers"])} of {bands.get("dtype") or "/".join(BAND_TYPES)}'
        raise ValueError(f'it has {count} bands of {dtype}, and the model is for images of {expected}')
    return _without_gaps(values[..., [number - 1 for number in bands['numbers']]], nodata, bands['fill'])


def _band_pages(file) -> list:
    """The pages of a TIFF that are its bands: 2 to 16 alike, of one sample a pixel, along one axis; or the first."""
    first = file.pages[0]
    text, found, kind = str(first.description)[:2**16], [], None
    if text.startswith('ImageJ='):
        axes = re.findall(r'^(?:channels|slices|frames)=(\d+)', text, re.MULTILINE)
    elif shape := re.search(r'"shape": *\[([\d, ]+)\]', text):
        axes = [one for one in shape[1].replace(' ', '').split(',')[:-2] if one]
    else:
        axes = re.findall(r'\bSize[CZT]="(\d+)"', text.split('</Pixels>', 1)[0])
    if first.samplesperpixel != 1 or sum(int(one[:9]) > 1 for one in axes) > 1:
        return [first]
    for i in range(33):
        try:
            page = file.pages[i]
        except IndexError:
            return found if len(found) <= 16 else [first]
        form = (page.imagelength, page.imagewidth, page.imagedepth, page.samplesperpixel, str(page.dtype),
                page.bitspersample, int(page.photometric), page.tags.valueof(274, 1))
        if page.tags.valueof(254, 0) & 5 or page.tags.valueof(255) == 2:  # a reduced image, or a mask
            if not i:
                return [first]
            continue
        found.append(page)
        kind = kind or form
        if form != kind:
            return [first]
    return [first]


def _no_line_of_nodata(record: logging.LogRecord) -> bool:
    """A filter: tifffile logs each file whose value for no data has another type than the pixels, as GDAL writes it."""
    return 'GDAL_NODATA' not in record.getMessage()


def _has_16_bits(picture: Image.Image) -> bool:
    """Whether the values of an image that is not decoded yet have 16 bits in its file."""
    for tile in getattr(picture, 'tile', None) or ():
        form = tile[3][0] if isinstance(tile[3], tuple) else tile[3]  # behind it positions, sizes and the like
        if '16' in str(form):
            return True
    return False


def _without_gaps(values: np.ndarray, nodata: float | None, fill: Sequence[float]) -> np.ndarray:
    """Values as float32, `fill` where they are NaN, infinite or `nodata`."""
    array = values.astype(np.float32)
    absent = ~np.isfinite(array)
    if nodata is not None:
        absent |= array == np.float32(nodata)
    return np.where(absent, np.array(fill, np.float32), array)


def _opened(path, read: Callable[[], np.ndarray]) -> np.ndarray:
    try:
        if not isinstance(path, Image.Image) and Path(path).exists() and not Path(path).is_file():
            raise RuntimeInputError(f'{path} is no file')  # a FIFO or a device may have no end
        return read()
    except FileNotFoundError:
        raise RuntimeInputError(f'{path}: no such file') from None
    except UnidentifiedImageError:
        raise RuntimeInputError(f'{path} is not an image that is read, as {", ".join(FORMATS)} are; one of many '
                                'channels can be a .npy file, or a TIFF with tifffile installed') from None
    except MemoryError:
        raise RuntimeInputError(f'{path}: there is too little memory for it') from None
    except Exception as error:  # Pillow's plug-ins and tifffile may raise anything
        if isinstance(error, RuntimeInputError):
            raise
        raise RuntimeInputError(f'{path} can not be read as an image: {_one_line(error)}') from None


def _check_size(values: int, most: int) -> None:
    if values > most:
        raise ValueError(f'it has {values} values, and {most} are allowed ({PIXELS_VARIABLE}=NUMBER in the environment '
                         'allows more, 4 for each pixel)')


def most_pixels() -> int:
    """Pixels that an image may have: 178,956,970, or as the environment says."""
    given = os.environ.get(PIXELS_VARIABLE, '').strip()
    return int(given) if given.isascii() and given.isdecimal() and len(given) < 19 else 178_956_970


def _array(path) -> np.ndarray:
    """The array in a .npy file, whose size is compared with that of the file before memory is taken for it."""
    array = np.load(path, mmap_mode='r', allow_pickle=False)
    if not isinstance(array, np.ndarray):
        raise ValueError('it is an archive of several arrays')
    _check_size(array.size, 4 * most_pixels())
    return np.array(array)


def _picture(path) -> Image.Image:
    """An image file opened by Pillow: of `FORMATS` alone, for others have programs started, or hide their size."""
    most = most_pixels()
    if most > 2 * (Image.MAX_IMAGE_PIXELS or most):
        Image.MAX_IMAGE_PIXELS = most  # Pillow has a bound of its own, and the user has raised this one
    Image.init()
    content = Path(path).read_bytes()
    _check_parts(content)
    _check_directories(content)
    # From memory: Pillow maps a file that is not compressed, and then turns it by nothing.
    picture = Image.open(io.BytesIO(content), formats=[name for name in FORMATS if name in Image.OPEN])
    tile = [values[0] if isinstance(values := (getattr(picture, 'tag_v2', None) or {}).get(tag, 1), tuple) else values
            for tag in (322, 323)]  # of a TIFF, which is decoded whole, however far it sticks out
    if isinstance(exif := picture.info.get('exif'), bytes):
        _check_directories(exif)  # put together of what may lie scattered in the file
    pixels = max(picture.width * picture.height, int(tile[0] * tile[1])) + 8 * sum(picture.size)  # and their addresses
    if pixels > most:
        raise ValueError(f'it takes {pixels} pixels to decode, and {most} are allowed ({PIXELS_VARIABLE}=NUMBER in the '
                         'environment allows more)')
    return picture


def _check_parts(content: bytes) -> None:
    """Raise ValueError for an image of a few kilobytes that keeps its decoder busy, or its memory full, for ever.

    A JPEG's decoder goes over all pixels for each scan, a JPEG 2000's takes memory and time for each part, and Pillow
    copies a JPEG's EXIF for each segment of it, a GIF's comments for each of their blocks. Of any other format, too,
    each part takes it microseconds.
    """
    parts = _counted(itertools.count())
    if content.startswith(b'GIF8'):
        at, comments = 13 + (3 << (content[10] & 7) + 1 if content[10] & 128 else 0), 0
        while content[at:at + 1] == b'!':  # an extension
            start, at = at, at + 2
            while content[at:at + 1] not in (b'', b'\0'):
                at += 1 + content[at]
                next(parts)
            next(parts)
            at += 1
            comments += at - start if content[start + 1] == 0xfe else 0
        if comments > 2**16:
            raise ValueError(f'it has {comments} bytes of comments: save it without')
    elif content.startswith(b'\xff\xd8'):
        segments, scans, idle, exif, pixels, at = 0, 0, 0, [], 1, 2
        while found := re.compile(rb'\xff[^\0\xd0-\xd7\xff]').search(content, at):  # a marker, and none within a scan
            next(parts)
            idle += 0 if scans else found.start() - at  # bytes that Pillow reads one by one
            at, marker = found.end(), found[0][1]
            if marker == 0xd9:
                break
            if 0xc0 <= marker <= 0xcf and marker not in (0xc4, 0xc8, 0xcc):
                height, width = (int.from_bytes(content[at + i:at + i + 2], 'big') for i in (3, 5))
                pixels = max(pixels, height * width)
            if marker >= 0xc0 and marker != 0xd8:
                length = max(int.from_bytes(content[at:at + 2], 'big'), 2)
                exif += [content[at + 8:at + length]] if marker == 0xe1 and content[at + 2:at + 6] == b'Exif' else []
                at, segments = at + length, segments + 1
            scans += marker == 0xda
        if scans > min(500, 2**32 // pixels) or segments > 10_000 or len(exif) > 200 or idle > MOST_PARTS:
            raise ValueError(f'it has {scans} scans, {segments} segments, {len(exif)} of them EXIF, and {idle} bytes '
                             'between them: save it anew')
        _check_directories(b''.join(exif))  # Pillow joins them
    else:
        at = {b'\x89PNG': 8, b'RIFF': 12}.get(content[:4], 0 if content[4:8] in (b'jP  ', b'ftyp') else len(content))
        while at + 8 <= len(content):
            next(parts)
            at = _next_part(content, at)
    if re.match(rb'P[1-6]\s', content) and not re.match(
            rb'P[1-6](?:(?:\s|#[^\r\n]*[\r\n])+\d+){2,3}\s', content[:4096]):
        raise ValueError('its header has no width and height, or long comments: save it anew')
    if content[4:8] == b'jP  ':
        streams = [found.start() for found in re.finditer(b'\xff\x4f\xff\x51', content)]
        if len(streams) > 100:
            raise ValueError(f'it has {len(streams)} codestreams: save it with one')
        for start in streams:
            _check_codestream(content, start)


def _next_part(content: bytes, at: int) -> int:
    """Where the next chunk or box of a PNG, WebP, JPEG 2000 or AVIF file begins; behind that of a header its first."""
    if content.startswith(b'\x89PNG'):
        return at + 12 + int.from_bytes(content[at:at + 4], 'big')
    if content.startswith(b'RIFF'):
        return at + 8 + (int.from_bytes(content[at + 4:at + 8], 'little') + 1) // 2 * 2
    length = int.from_bytes(content[at:at + 4], 'big')
    if content[at + 4:at + 8] == b'jp2h':
        return at + 8
    return at + max(int.from_bytes(content[at + 8:at + 16], 'big') if length == 1 else length or len(content), 8)


def _counted(parts: Iterable) -> Iterator:
    """The parts of an image one by one; ValueError for more than any program writes: each takes microseconds."""
    for count, part in enumerate(parts):
        if count >= MOST_PARTS:
            raise ValueError(f'it is of more than {MOST_PARTS} parts (chunks, segments, blocks): save it anew')
        yield part


def _check_codestream(content: bytes, start: int) -> None:
    """Raise ValueError where the headers of a JPEG 2000 picture and its tiles cut it into too much.

    OpenJPEG takes 1 to 2 KiB for each component of a tile, half a KiB for a code block, and time for each packet, which
    all layers, resolutions, components and precincts may have.
    """
    def number(at, size):
        return int.from_bytes(content[at:at + size], 'big')

    def cells(side, exponent, tiles):
        return -(-side >> exponent) + tiles
    right, bottom, left, top, *tile = (number(start + 8 + 4 * i, 4) for i in range(8))
    sides, components = (right - left, bottom - top), number(start + 40, 2)
    tiles = [-(-(end - at) // max(side, 1)) for end, side, at in zip((right, bottom), tile, tile[2:])]
    if tiles[0] * tiles[1] * (components + 4) > 2**19:
        raise ValueError(f'it has {tiles[0]} × {tiles[1]} tiles: save it with larger ones')
    wide, blocks, layers, resolutions, steps, progressions, walked = 1 + (components > 256), 0, 1, 1, [32, 32], {}, 0
    headers = [(start + 2, None), *((part.end() + 8, number(part.end(), 2)) for part in _counted(re.compile(
        rb'\xff\x90\0\x0a').finditer(content, start)))]  # of the picture, and of parts of its tiles
    for at, part in headers:
        while (marker := number(at, 2)) not in (0xff90, 0xff93) and at < len(content):
            length, walked = max(number(at + 2, 2), 2), walked + 1
            if marker not in MARKERS and not (  # older versions of OpenJPEG look for markers within these
                    marker in (0xff50, 0xff59) and length % 2 == 0 and b'\xff' not in content[at + 2:at + 2 + length]):
                if part is None:
                    raise ValueError(f'its header has the marker {marker:x}')
                break
            style = at + (9 if marker == 0xff52 else 5 + wide)
            flags, levels = number(at + 4 if marker == 0xff52 else at + 4 + wide, 1), number(style, 1)
            if marker == 0xff52:
                layers = max(layers, number(at + 6, 2))
            elif marker == 0xff5f:
                progressions[part] = progressions.get(part, 0) + (length - 2) // (5 + 2 * wide)
            if marker in (0xff52, 0xff53):
                resolutions = max(resolutions, levels + 1)
                for level in range(min(levels, 32) + 1):
                    precinct, count = number(style + 5 + level, 1) if flags & 1 else 255, 1
                    for axis, exponent in enumerate((precinct & 15, precinct >> 4)):
                        steps[axis] = min(steps[axis], exponent + levels - level)
                        block = max(min(number(style + 1 + axis, 1) + 2, exponent - (level > 0)), 0)
                        count *= cells(sides[axis] if part is None else min(sides[axis], tile[axis]),
                                       levels - level + (level > 0) + block, tiles[axis] if part is None else 1)
                    blocks += count * (components if marker == 0xff52 else 1) * (3 if level else 1)
            if blocks > 2**21 or walked > 2**19:
                raise ValueError(f'it has {blocks} code blocks, {walked} segments: save it with larger code blocks, '
                                 'precincts or tiles')
            at += 2 + length
    packets = layers * resolutions * components
    packets *= max(1, progressions.pop(None, 0) + max(progressions.values(), default=0))
    for side, step, count in zip(sides, steps, tiles):
        packets *= cells(side, step, count)
    if packets > 2**24:
        raise ValueError(f'it may have {packets} packets, of {layers} layers and their precincts: save it with fewer '
                         'layers or larger precincts')


def _check_directories(content: bytes) -> None:
    """Raise ValueError where the entries of TIFF or EXIF directories name the same bytes again and again.

    Pillow keeps what each of them names.
    """
    entries = named = 0
    for found in _counted(re.finditer(rb'II[*+]\0|MM\0[*+]|II\0\*|MM\*\0', content)):  # Pillow reads the last two, too
        base, order, word = found.start(), 'little' if found[0][:1] == b'I' else 'big', 8 if b'+' in found[0] else 4

        def number(at, size, base=base, order=order):
            return int.from_bytes(content[base + at:base + at + size], order)
        head, todo, seen = 8 if word == 8 else 2, [number(word, word)], set()
        while todo:
            start = todo.pop()
            if start in seen:
                continue
            seen.add(start)
            for i in range(number(start, head)):
                at = start + head + i * (4 + 2 * word)
                if base + at >= len(content):
                    break
                size = ENTRY_BYTES.get(number(at + 2, 2), 0) * number(at + 4, word)
                value = number(at + 4 + word, word)
                named += max(min(size, len(content) - base - value), 0) if size > word else 0
                todo += [value] if number(at, 2) in (0x8769, 0x8825, 0xa005) else []
                entries += 1
                if entries > 200_000 or named > len(content) + 2**27:
                    raise ValueError(f'its TIFF or EXIF directories name {named} bytes of {len(content)}: save it anew')


def _decoded(image, channels: int) -> np.ndarray:
    """The array of a PIL image or an image file."""
    if channels != 3 and str(image).lower().endswith(('.tif', '.tiff')):
        try:  # where it is installed: Pillow has no images of many channels
            import tifffile
        except ImportError:
            pass
        else:
            with tifffile.TiffFile(image) as file:
                _check_size(file.series[0].size, 4 * most_pixels())
            array = tifffile.imread(image)
            return array.transpose(1, 2, 0) if array.ndim == 3 and array.shape[2] != channels == array.shape[0] \
                else array
    picture = image if isinstance(image, Image.Image) else _picture(image)
    _check_values(picture, channels)
    picture.load()  # of a PNG, what lies behind its pixels too
    if len(str(picture.info.get('Raw profile type exif', ''))) > 2**17:
        raise ValueError('its EXIF header is too long: save it without')
    picture = ImageOps.exif_transpose(picture)
    if channels != 3:
        if channels == 1 and picture.mode in ('RGB', 'P', '1'):
            picture = picture.convert('L')
        array = np.array(picture)
        return array.astype(np.uint16) if array.dtype == np.int32 else array  # 16 bits, as Pillow has them
    if picture.mode.startswith('I') or picture.mode == 'F':
        picture = Image.fromarray(_eight_bits(np.asarray(picture), image))
    return np.array(picture.convert('RGB'))


def _check_values(picture: Image.Image, channels: int) -> None:
    """Raise ValueError for an image whose values Pillow takes for others than they are, or than training took."""
    colours = (getattr(picture, 'tag_v2', None) or {}).get(262)
    if colours == 0 and picture.mode.startswith('I'):
        raise ValueError('its values of more than 8 bits have 0 as white, which not every decoder heeds: save it with '
                         '0 as black')
    if colours in (8, 9, 10):
        raise ValueError('its colours are in CIE Lab, which decoders make different ones of: save it in RGB')
    for decoder, _, _, options in getattr(picture, 'tile', None) or ():
        if channels != 3 and decoder.startswith('ppm') and picture.mode != '1' and options[-1] not in (255, 65535):
            raise ValueError('the largest value in its header is neither 255 nor 65535: save it as a PNG or .npy file')


def _eight_bits(values: np.ndarray, image) -> np.ndarray:
    """The upper 8 bits of an image's values of 16; more, or floats, are an error: nobody says what white is."""
    low, high = values.min(), values.max()
    if values.dtype.kind == 'f' or low < 0 or high >= 2**16:
        raise ValueError(f'its values are {values.dtype}, {low:g} to {high:g}; those of 8 or 16 bits are read: scale '
                         'them to 0 to 255 and save 8 bits')
    if 0 < high < 2**15:
        bits = int(high).bit_length()
        warnings.warn(f'{_printable(image)}: the values are {low} to {high} of 65535, nearly black: multiply them by '
                      f'{2 ** (16 - bits)}, or save 8 bits', stacklevel=2)
    return (values // 256).astype(np.uint8)


def as_picture(image: np.ndarray, bands: dict | None = None) -> np.ndarray:
    """An image ``(H, W, C)`` to draw on, RGB uint8: its first three channels, or its first, stretched to 8 bits.

    Of `bands`, see the metadata, those that are shown, each from its 2nd to its 98th percentile.
    """
    if bands:
        image = image[..., bands.get('shown') or ([0, 1, 2] if image.shape[2] > 2 else [0, 0, 0])]
        low, high = np.percentile(image, (2, 98), axis=(0, 1))
        return (((image - low) / np.where(high > low, high - low, 1)).clip(0, 1) * 255).round().astype(np.uint8)
    channels = np.repeat(image[..., :1], 3, 2) if image.shape[2] < 3 else image[..., :3]
    if channels.dtype == np.uint8:
        return channels
    low, high = float(np.nanmin(channels)), float(np.nanmax(channels))
    return np.nan_to_num((channels - low) / ((high - low) or 1) * 255).astype(np.uint8)


def resized(height: int, width: int, limit: Sequence[int | None], scale: Sequence[int] | None = None,
            keep_ratio: bool = True, scale_factor: Sequence[float] | None = None) -> tuple[int, int]:
    """Height and width of an image in the input, see `resize` above; `limit` is the input's size, None: open."""
    if scale_factor:
        scale = [int(n * factor + 0.5) for n, factor in zip((width, height), scale_factor)]
    if not keep_ratio:
        target = (scale[1], scale[0]) if scale else (height, width)
        return tuple(min(n, side or n) for n, side in zip(target, limit))
    ratio = min(max(scale) / max(height, width), min(scale) / min(height, width)) if scale else 1.
    size = tuple(max(1, int(n * ratio + 0.5)) for n in (height, width))
    if all(n <= (side or n) for n, side in zip(size, limit)):
        return size
    ratio = min([ratio] + [side / n for side, n in zip(limit, (height, width)) if side])
    return tuple(max(1, int(n * ratio + 0.5)) for n in (height, width))


def padded(height: int, width: int, size: Sequence[int] | None = None, divisor: int | None = None,
           square: bool | None = False) -> tuple[int, int]:
    """Height and width after padding: at least `size`, or square, then multiples of `divisor`."""
    if square:
        height = width = max(height, width)
    if size:
        height, width = max(height, size[0]), max(width, size[1])
    divisor = divisor or 1
    return -(-height // divisor) * divisor, -(-width // divisor) * divisor


def _filled(image: np.ndarray, size: Sequence[int], value) -> np.ndarray:
    """An image ``(H, W, C)`` padded right and below to a size with a value, or one per channel."""
    if image.shape[:2] == tuple(size):
        return image
    out = np.empty((*size, image.shape[2]), image.dtype)
    out[:] = value
    out[:image.shape[0], :image.shape[1]] = image
    return out


def resize(image: np.ndarray, height: int, width: int, interpolation: str = 'bilinear') -> np.ndarray:
    """Resize ``(H, W, C)`` as OpenCV does, without smoothing; uint8, uint16 or float32, and of the same type.

    Bilinear and nearest pixels of 8 bits are OpenCV's, bit for bit, as its fixed-point arithmetic has them.
    """
    if image.shape[:2] == (height, width):
        return image
    if interpolation == 'nearest':
        rows, columns = (np.minimum((np.arange(new) * (1 / (new / old))).astype(int), old - 1)
                         for old, new in zip(image.shape, (height, width)))
        return image[rows[:, None], columns]
    whole = image.dtype == np.uint8
    out = image.astype(np.int32 if whole else np.float32)
    for axis, side in ((1, width), (0, height)):
        neighbours = []
        for index, weight in _taps(image.shape[axis], side, interpolation, axis == 1):
            if whole:
                weight = np.rint(weight * 2048).astype(np.int32)
            neighbours.append((out.take(index, axis), weight.reshape(-1, *[1] * (2 - axis))))
        if whole and interpolation == 'bilinear' and axis == 0:
            (low, a), (high, b) = neighbours
            return ((((low >> 4) * a >> 16) + ((high >> 4) * b >> 16) + 2) >> 2).astype(np.uint8)
        if axis == 0 and whole:
            out = sum(pixels.astype(np.float64) * weight for pixels, weight in neighbours) / 2**22
        else:
            out = sum(pixels * weight for pixels, weight in neighbours)
    if image.dtype.kind == 'f':
        return out
    return np.rint(out).clip(0, np.iinfo(image.dtype).max).astype(image.dtype)


def _taps(old: int, new: int, interpolation: str, clamped: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each of ``new`` pixels the ``old`` ones that it is made of, and their weights.

    Args:
        old, new: pixels of the side.
        interpolation: 'bilinear', of two pixels, or 'bicubic', of four.
        clamped: beyond the border a single pixel has all the weight, instead of twice a part: as OpenCV has columns.
    """
    at = ((np.arange(new) + 0.5) * (1 / (new / old)) - 0.5).astype(np.float32)
    low = np.floor(at).astype(int)
    x = at - low.astype(np.float32)
    if interpolation == 'bilinear':
        if clamped:
            x[(low < 0) | (low >= old - 1)] = 0
            low = low.clip(0)
        return [(index.clip(0, old - 1), weight) for index, weight in ((low, 1 - x), (low + 1, x))]
    a = np.float32(-0.75)
    first, second = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a, ((a + 2) * x - (a + 3)) * x * x + 1
    third = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1
    weights = first, second, third, 1 - first - second - third
    return [((low + i - 1).clip(0, old - 1), weight) for i, weight in enumerate(weights)]


def bilinear(maps: np.ndarray, size: Sequence[int], align_corners: bool = False,
             rows: slice = slice(None)) -> np.ndarray:
    """Maps ``(C, h, w)`` resized as torch does; of the result ``(C, *size)`` these rows."""
    for axis, side, part in ((1, size[0], rows), (2, size[1], slice(None))):
        old = maps.shape[axis]
        if old == side:
            maps = maps[(slice(None),) * axis + (part,)]
            continue
        at = np.arange(side, dtype=np.float32)[part]
        if align_corners:
            at *= np.float32((old - 1) / max(side - 1, 1))
        else:
            at = ((at + np.float32(0.5)) * np.float32(old / side) - np.float32(0.5)).clip(0)
        low = at.astype(int).clip(0, old - 1)
        weight = (at - low).astype(np.float32).reshape(-1, *[1] * (2 - axis))
        start = maps.take(low, axis)
        maps = start + (maps.take((low + 1).clip(0, old - 1), axis) - start) * weight
    return maps


def _nearest(labels: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    rows, columns = (((np.arange(n) + 0.5) * side // n).astype(int) for n, side in zip(shape, labels.shape))
    return labels[rows[:, None], columns].astype(np.int64)


def paste(mask: np.ndarray, box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Paste a mask ``(side, side)`` into its box of the image: ``(H, W)``, bilinear, 0 outside."""
    def weights(start, end, side, cells):  # of each cell for each pixel: triangles around the cells' centres
        at = (np.arange(side) + 0.5 - start) / max(end - start, 1e-6) * cells - 0.5
        return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells))).astype(np.float32)
    x1, y1, x2, y2 = box.tolist()
    rows, columns = weights(y1, y2, shape[0], mask.shape[0]), weights(x1, x2, shape[1], mask.shape[1])
    return rows @ mask @ columns.T


def enlarged(mask: np.ndarray, sides: Sequence[int], size: Sequence[int], shape: Sequence[int],
             resize_map: Callable = bilinear) -> np.ndarray:
    """A mask ``(h, w)`` of an input of these sides, in the pixels of the image ``shape`` that has the size there."""
    return resize_map(resize_map(mask[None], sides)[:, :size[0], :size[1]], shape)[0]


def results_of_queries(classes: np.ndarray, masks: np.ndarray, rule: dict, sides: Sequence[int], size: Sequence[int],
                       shape: Sequence[int], names: Sequence[str] = (), resize_map: Callable = bilinear) -> Detections:
    """What queries have found, as mmdet's fusion head of Mask2Former makes instances and panoptic maps of them.

    Args:
        classes: probabilities of each query's classes and of none, ``(Q, C + 1)``.
        masks: logits ``(Q, h, w)`` of the whole input.
        rule: `queries` of the metadata.
        sides: height and width of the input. size: those of the image in it. shape: those of the image.
        names: of the classes.
        resize_map: as `bilinear`.
    """
    count, most, panoptic = classes.shape[1] - 1, rule.get('instances'), rule.get('panoptic')
    chosen = np.argsort(-classes[:, :-1].ravel(), kind='stable')[:most or 0]
    chosen = chosen[chosen % count < rule['things']]
    best, label = classes.max(1), classes.argmax(1)
    segments = ((label != count) & (best > panoptic['score'])).nonzero()[0].tolist() if panoptic else []
    binary, sureness, areas = {}, {}, {}  # by query
    highest, owner, owner_is_sure = np.zeros(shape, np.float32), np.full(shape, -1), np.zeros(shape, bool)
    for query in sorted({*segments, *(chosen // count).tolist()}):
        logits = enlarged(masks[query].astype(np.float32, copy=False), sides, size, shape, resize_map)
        probabilities = (0.5 * np.tanh(0.5 * logits) + 0.5).astype(np.float32)
        binary[query] = logits > 0
        sureness[query] = float(probabilities[binary[query]].sum(dtype=np.float64)) / (binary[query].sum() + 1e-6)
        if query in segments:
            sure, weighted = probabilities >= 0.5, best[query] * probabilities
            areas[query] = int(sure.sum())
            higher = weighted > highest
            highest[higher], owner[higher], owner_is_sure[higher] = weighted[higher], query, sure[higher]
    ids = None
    if panoptic:
        ids, number = np.full(shape, count), 0
        for query in segments:
            mask = owner == query
            area = int(mask.sum())
            if not area or not areas[query] or area / areas[query] < panoptic['overlap']:
                continue
            number += int(label[query] < rule['things'])
            ids[mask & owner_is_sure if panoptic['sure'] else mask] = label[query] + INSTANCE_OFFSET * number * int(
                label[query] < rule['things'])
    if not most:
        return no_instances(shape, names, ids)
    queries = (chosen // count).tolist()
    scores = np.array([classes[query, kind] * sureness[query] for query, kind in zip(
        queries, (chosen % count).tolist())], np.float32)
    order = np.argsort(-scores, kind='stable')
    found = np.stack([binary[queries[i]] for i in order]) if len(order) else np.zeros((0, *shape), bool)
    boxes = np.array([mask_box(mask) for mask in found], np.float32).reshape(-1, 4)
    return Detections(boxes, scores[order], (chosen % count)[order], found, names, ids)


def no_instances(shape: Sequence[int], names: Sequence[str] = (), panoptic: np.ndarray | None = None) -> Detections:
    """Of an image of this height and width, with its panoptic map."""
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64),
                      np.zeros((0, *shape), bool), names, panoptic)


def mask_box(mask: np.ndarray) -> list[int]:
    """The box x1, y1, x2, y2 around a mask ``(H, W)`` bool; zeros where it is empty."""
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if len(rows) else [0] * 4


def run_lengths(mask: np.ndarray) -> dict:
    """COCO's uncompressed run-length encoding: column by column, the zeros first."""
    flat = np.concatenate([[0], mask.T.ravel().astype(np.int8), [-1]])  # as if a zero came first
    counts = np.diff(np.flatnonzero(np.diff(flat)), prepend=0).tolist()
    return dict(size=list(mask.shape), counts=counts)


def _blend(image: np.ndarray, colour: np.ndarray, alpha: float, where: np.ndarray | bool) -> np.ndarray:
    mixed = (image * (1 - alpha) + colour * alpha).astype(np.uint8)
    return mixed if where is True else np.where(where[..., None], mixed, image)


def _name(classes: Sequence[str], label: int) -> str:
    return classes[label] if label < len(classes) else str(label)


def _printable(text) -> str:
    """Text from outside without what a terminal obeys, its further lines indented: none is taken for output."""
    return re.sub('[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]', lambda match: match[0].encode(
        'unicode_escape').decode(), str(text)).replace('\n', '\n  ')


def _one_line(error: BaseException) -> str:
    return ' '.join(str(error).split())


def main(argv: Sequence[str] | None = None, load: Callable[..., Model] = Model) -> int:
    """The command line; `load` makes a model of a path and the number of threads."""
    parser = argparse.ArgumentParser(description='Run an ONNX file of `mmvision-mamba export` on images, with '
                                     'onnxruntime, NumPy and Pillow only.')
    parser.add_argument('model', help='the ONNX file')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image files or folders of them')
    parser.add_argument('--out-dir', default='out', metavar='DIR',
                        help='a folder without any of the images; for each image NAME: NAME.png, what was found drawn '
                        "on it, and for a detector NAME.json, for a panoptic model NAME_panoptic.png and .json, "
                        'for a segmentor NAME_map.png, whose pixels are labels, or labels + 1 if masks of its data set '
                        'count from 1, as ADE20K\'s; default: out')
    parser.add_argument('--score-thr', type=float, default=0.3, metavar='P',
                        help='instances with a lower score are neither drawn nor written; default: 0.3')
    parser.add_argument('--threads', type=int, metavar='N', help='default: one per core')
    args = parser.parse_args(argv)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, 'reconfigure'):
            stream.reconfigure(errors='backslashreplace')  # names of files may be of any bytes
    try:
        if args.threads is not None and not 0 < args.threads <= 1024:
            raise RuntimeInputError(f'--threads: expected a number from 1 to 1024, got {args.threads}')
        model = load(args.model, threads=args.threads)
        if model.task == 'features':
            raise RuntimeInputError(f'{args.model} is a backbone: it has features, nothing to draw')
        paths, out_dir = _image_files(args.images), Path(args.out_dir)
        _check_apart(paths, out_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
        for path, out in zip(paths, _outputs(paths, out_dir)):
            print(_printable(f'{path}: {_write(model, path, out, args.score_thr)}'), flush=True)
    except RuntimeInputError as error:
        print(f'error: {_printable(error)}', file=sys.stderr)
        return 2
    except OSError as error:
        print(f'error: --out-dir {_printable(args.out_dir)}: {error.strerror or error}', file=sys.stderr)
        return 2
    return 0


def _image_files(arguments: Sequence[str]) -> list[Path]:
    paths = []
    for path in map(Path, arguments):
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES) if path.is_dir() else [path]
        if not inside or not inside[0].exists():
            raise RuntimeInputError(f'{path}: no images in this folder' if path.is_dir() else f'{path}: no such file')
        paths += inside
    return paths


def _check_apart(paths: Sequence[Path], out_dir: Path) -> None:
    """Raise where an image lies in the folder of the results, which could take its place, or its annotations'."""
    for path in paths:
        if out_dir.resolve() in (path.resolve().parent, path.parent.resolve()):
            raise RuntimeInputError(f'{path} is an input and lies in --out-dir {out_dir}, where results are written: '
                                    'choose another folder for them')


def _outputs(paths: Sequence[Path], out_dir: Path) -> list[Path]:
    """Path without suffix of each image's results; none overwrite another's, in any case."""
    def name(path):
        return str(Path(path).resolve()).lower()
    taken: set[str] = set()
    outputs = []
    for path in paths:
        out = out_dir / path.stem
        while taken & (pictures := {name(f'{out}{end}.png') for end in ('', '_map', '_panoptic')}):
            out = Path(f'{out}_')
        taken |= pictures
        outputs.append(out)
    return outputs


def _write(model: Model, path: Path, out: Path, score_thr: float) -> str:
    """Run the model on an image and write the results to `out` with suffixes; returns a summary for the user."""
    result = model(path)
    _save(model.draw(path, result, score_thr), f'{out}.png')
    if isinstance(result, Detections):
        result = result.above(score_thr)
        if result.panoptic is not None:
            return _write_panoptic(model, result.panoptic, out)
        _replace(f'{out}.json', lambda part: part.write_text(json.dumps(result.to_json())))
        return ', '.join(f'{_name(model.classes, label)} {score:.2f}' for label, score in zip(
            result.labels.tolist(), result.scores.tolist())) or 'nothing'
    _save(model.map_image(result), f'{out}_map.png')
    labels, counts = np.unique(result, return_counts=True)
    return ', '.join(f'{_name(model.classes, label)} {count / result.size:.1%}' for label, count in sorted(
        zip(labels.tolist(), counts.tolist()), key=lambda pair: -pair[1]))


def _write_panoptic(model: Model, ids: np.ndarray, out: Path) -> str:
    """Write segments as COCO's panoptic results have them, NAME_panoptic.png and .json; returns a summary."""
    none, numbered, segments = len(model.classes), np.zeros(ids.shape, np.uint32), []
    for value in np.unique(ids).tolist():
        label = value % INSTANCE_OFFSET
        if label != none:
            numbered[ids == value] = len(segments) + 1
            segments.append(dict(id=len(segments) + 1, label=label, name=_name(model.classes, label),
                                 area=int((ids == value).sum())))
    channels = np.stack([numbered >> shift & 255 for shift in (0, 8, 16)], -1).astype(np.uint8)
    _save(Image.fromarray(channels), f'{out}_panoptic.png')
    _replace(f'{out}_panoptic.json', lambda part: part.write_text(json.dumps(segments)))
    return ', '.join(f'{segment["name"]} {segment["area"] / ids.size:.1%}' for segment in sorted(
        segments, key=lambda segment: -segment['area'])) or 'nothing'


def _save(image: Image.Image, path: str) -> None:
    _replace(path, lambda part: image.save(part, format='PNG'))


def _replace(path: str, write: Callable[[Path], object]) -> None:
    """Write `path` atomically: a full disk leaves no half of it, and an older file stays."""
    part = Path(f'{path}.part')
    try:
        part.unlink(missing_ok=True)  # a link would be written through
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


if __name__ == '__main__':
    sys.exit(main())
