#!/usr/bin/env python3
"""Run a model that `mmvision-mamba export` wrote as ONNX: boxes, masks and maps, without torch and without OpenMMLab.

This file needs onnxruntime, NumPy and Pillow, and nothing else of its package: copy it anywhere.

    python runtime.py model.onnx photo.jpg more_photos/ --out-dir out

    from runtime import Model
    model = Model('model.onnx')
    found = model('photo.jpg')            # a path, a PIL image, or an RGB array (H, W, 3) uint8
    found.boxes, found.scores, found.labels, found.masks

The ONNX file's metadata says how to prepare an image and read the outputs; every value is JSON:

    task            "detection", "segmentation" or "features"
    classes         names by label
    palette         [[r, g, b], …] by label
    mean, std       of the input's channels, on the scale 0 to 255
    channel_order   "RGB" or "BGR", of the input
    resize          {"scale": [w, h], "keep_ratio": true}: the longer side becomes at most the greater of the two and
                    the shorter at most the lesser; with "keep_ratio": false the image becomes w × h. Never larger than
                    the model's input; without a scale, as large as that. Padding fills the input's right and bottom
    pad_value       of the padding, on the scale 0 to 255; null: the value that is normalised to 0
    mask_threshold  probability from which a pixel belongs to an instance
    threshold       of a segmentor with a single logit: probability from which a pixel is of class 1
    largest         most pixels a side, if height and width are dynamic

A model whose input is uint8 (exported --with-preprocess) takes any image as it is and does all of this itself.
"""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

try:
    import numpy as np
    import onnxruntime
    from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError
except ImportError as missing:
    if __name__ != '__main__':
        raise
    sys.exit(f'error: {missing.name} is not installed: pip install onnxruntime numpy pillow')

SUFFIXES = '.bmp', '.gif', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'
TYPES = {'tensor(float)': np.float32, 'tensor(float16)': np.float16, 'tensor(double)': np.float64}


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
    """
    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: np.ndarray | None = None
    classes: Sequence[str] = field(default=(), repr=False)

    def above(self, score: float) -> Detections:
        """The detections with at least this score."""
        keep = self.scores >= score
        masks = None if self.masks is None else self.masks[keep]
        return Detections(self.boxes[keep], self.scores[keep], self.labels[keep], masks, self.classes)

    def to_json(self) -> list[dict]:
        """One dict per instance: label, name, score, box, and the mask as COCO's uncompressed run lengths."""
        instances = []
        for i, label in enumerate(self.labels.tolist()):
            instances.append(dict(label=label, name=_name(self.classes, label), score=round(float(self.scores[i]), 6),
                                  box=[round(float(v), 3) for v in self.boxes[i]]))
            if self.masks is not None:
                instances[-1]['mask'] = run_lengths(self.masks[i])
        return instances


class Model:
    """A detector, segmentor or backbone in an ONNX file written by `mmvision-mamba export`.

    Args:
        path: the file.
        providers: onnxruntime's execution providers. Default: the CPU.
        threads: to compute with. Default: onnxruntime's choice, one per core.

    Raises:
        RuntimeInputError: no such file, not an ONNX model, or one that `mmvision-mamba export` did not write.
    """

    def __init__(self, path: str | Path, providers: Sequence[str] = ('CPUExecutionProvider',),
                 threads: int | None = None):
        if not Path(path).is_file():
            raise RuntimeInputError(f'{path}: no such file')
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        if threads:
            options.intra_op_num_threads = threads
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=list(providers))
        except Exception as error:  # onnxruntime's own exceptions have no common base
            raise RuntimeInputError(f'{path} can not be loaded: {_one_line(error)}') from error
        meta = self.session.get_modelmeta().custom_metadata_map
        try:
            meta = {key: json.loads(value) for key, value in meta.items() if key in METADATA}
            self.task = meta['task']
        except (ValueError, KeyError):
            raise RuntimeInputError(f"{path}: no 'task' in its metadata: `mmvision-mamba export` writes one") from None
        self.classes, self.palette = meta.get('classes') or [], meta.get('palette') or []
        self.mean, self.std = (np.array(meta.get(key, value), np.float32) for key, value in (('mean', 0), ('std', 1)))
        self.channel_order = meta.get('channel_order', 'RGB')
        self.resize_rule, self.pad_value = meta.get('resize') or {}, meta.get('pad_value')
        self.mask_threshold, self.threshold = meta.get('mask_threshold', 0.5), meta.get('threshold', 0.5)
        self.largest = meta.get('largest')
        first = self.session.get_inputs()[0]
        self.input_names = [entry.name for entry in self.session.get_inputs()]
        self.output_names = [entry.name for entry in self.session.get_outputs()]
        self.takes_images = first.type == 'tensor(uint8)'  # resizes and normalises by itself
        self.dtype = TYPES.get(first.type)
        if not self.takes_images:
            self.batch, _, *sides = (n if isinstance(n, int) else None for n in first.shape)
            self.input_size = tuple(sides)  # height, width; None: any

    def __call__(self, image) -> Detections | np.ndarray | list[np.ndarray]:
        """Predict on one image.

        Args:
            image: a path, a PIL image, or an RGB array ``(H, W, 3)`` uint8.

        Returns:
            For a detector `Detections`; for a segmentor the label map ``(H, W)`` int64 of the image; for a backbone the
            feature maps ``(1, C_i, H_i, W_i)`` of the padded input.

        Raises:
            RuntimeInputError: not an image, or one larger than the model takes.
        """
        image = read_image(image)
        if self.takes_images:
            outputs = self.session.run(None, {self.input_names[0]: image})
            return self._result_on_image(dict(zip(self.output_names, outputs)), image.shape[:2])
        tensor, size = self.prepare(image)
        feed = {self.input_names[0]: np.repeat(tensor, self.batch or 1, 0).astype(self.dtype)}
        if 'image_size' in self.input_names:
            feed['image_size'] = np.repeat(np.array([size], np.int64), self.batch or 1, 0)
        outputs = [value[:1] for value in self.session.run(None, feed)]
        if self.task == 'features':
            return outputs
        if self.task == 'segmentation':
            return self._label_map(outputs[0], size, tensor.shape[2:], image.shape[:2])
        return self._detections(dict(zip(self.output_names, outputs)), size, image.shape[:2])

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
        """RGB ``(H, W, 3)`` -> the model's input, float32 ``(1, 3, h, w)``, and its (height, width) without padding."""
        height, width = resized(*image.shape[:2], self.input_size, **self.resize_rule)
        if self.largest and max(height, width) > self.largest:
            raise RuntimeInputError(f'the model takes {self.largest} pixels a side at most, got {height} × {width}: '
                                    'scale the image down')
        pixels = resize(image, height, width)
        if self.channel_order == 'BGR':
            pixels = pixels[..., ::-1]
        pixels = (pixels - self.mean) / self.std
        out = [n if n else side for n, side in zip(self.input_size, (_multiple_of_32(height), _multiple_of_32(width)))]
        tensor = np.zeros((1, *out, 3), np.float32)
        if self.pad_value is not None:
            tensor += (self.pad_value - self.mean) / self.std
        tensor[0, :height, :width] = pixels
        return np.ascontiguousarray(tensor.transpose(0, 3, 1, 2)), (height, width)

    def _result_on_image(self, outputs: dict[str, np.ndarray], shape: tuple[int, int]):
        """Result of a model with its own pre- and postprocessing, whose outputs are in the image's coordinates."""
        if self.task == 'detection':
            masks = outputs.get('masks')
            return Detections(outputs['boxes'], outputs['scores'], outputs['labels'],
                              None if masks is None else masks.astype(bool), self.classes)
        values = list(outputs.values())
        return values if self.task == 'features' else self._label_map(values[0], shape, shape, shape)

    def _detections(self, outputs: dict[str, np.ndarray], size: tuple[int, int], shape: tuple[int, int]) -> Detections:
        """Boxes and masks of the image ``shape`` from those of the input, in which it has the ``size``."""
        valid = outputs['labels'][0] >= 0
        boxes = outputs['boxes'][0][valid].astype(np.float32)
        boxes /= np.array([size[1] / shape[1], size[0] / shape[0]] * 2, np.float32)
        masks = None
        if 'masks' in outputs:
            probabilities = outputs['masks'][0][valid].astype(np.float32)
            masks = np.stack([paste(m, box, shape) >= self.mask_threshold for m, box in zip(probabilities, boxes)]) \
                if len(boxes) else np.zeros((0, *shape), bool)
        return Detections(boxes, outputs['scores'][0][valid].astype(np.float32), outputs['labels'][0][valid], masks,
                          self.classes)

    def _label_map(self, output: np.ndarray, size: tuple[int, int], padded: tuple[int, int],
                   shape: tuple[int, int]) -> np.ndarray:
        """The label map of the image from logits ``(1, C, h, w)`` or labels ``(1, [1,] h, w)`` of the padded input."""
        maps = output.reshape(-1, *output.shape[-2:])
        height, width = (max(1, round(n * side / full)) for n, side, full in zip(size, maps.shape[1:], padded))
        maps = maps[:, :height, :width]
        if output.dtype.kind == 'f':
            logits = resize(maps.transpose(1, 2, 0).astype(np.float32), *shape)
            if logits.shape[2] > 1:
                return logits.argmax(-1)
            return (0.5 * np.tanh(0.5 * logits[..., 0]) + 0.5 > self.threshold).astype(np.int64)
        rows, columns = ((np.arange(n) + 0.5) * side // n for n, side in zip(shape, (height, width)))
        return maps[0][rows.astype(int)[:, None], columns.astype(int)].astype(np.int64)

    def draw(self, image, found, score_thr: float = 0.3, alpha: float = 0.5) -> Image.Image:
        """Draw a result of the model on its image.

        Args:
            image: as given to the model.
            found: the result, `Detections` or a label map ``(H, W)``.
            score_thr: instances with a lower score are left out.
            alpha: opacity of masks and maps.
        """
        image = read_image(image)
        if not isinstance(found, Detections):
            return Image.fromarray(_blend(image, self.colours(found.max() + 1)[found], alpha, True))
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

    def colours(self, count: int) -> np.ndarray:
        """RGB ``(≥ count, 3)`` uint8: the palette, and well-spread colours where it is too short."""
        palette = np.array(self.palette, np.uint8).reshape(-1, 3)
        hues = (np.arange(len(palette), max(count, len(palette))) * 0.618034) % 1
        spread = np.abs((hues[:, None] * 6 + np.array([0, 4, 2])) % 6 - 3) - 1
        return np.concatenate([palette, (np.clip(spread, 0, 1) * 200 + 30).astype(np.uint8)])


METADATA = ('task', 'classes', 'palette', 'mean', 'std', 'channel_order', 'resize', 'pad_value', 'mask_threshold',
            'threshold', 'largest')


def read_image(image) -> np.ndarray:
    """A path, a PIL image or an array -> RGB ``(H, W, 3)`` uint8, turned as its EXIF says.

    Raises:
        RuntimeInputError: what can't be read as an image.
    """
    if isinstance(image, np.ndarray):
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise RuntimeInputError(f'an image array is RGB (H, W, 3) uint8, got {image.shape} {image.dtype}')
        return image
    try:
        picture = image if isinstance(image, Image.Image) else Image.open(image)
        picture = ImageOps.exif_transpose(picture)
        if picture.mode.startswith('I'):  # 16 bits
            picture = Image.fromarray((np.asarray(picture) / 256).clip(0, 255).astype(np.uint8))
        return np.array(picture.convert('RGB'))
    except FileNotFoundError:
        raise RuntimeInputError(f'{image}: no such file') from None
    except UnidentifiedImageError:
        raise RuntimeInputError(f'{image} is not an image that Pillow reads') from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RuntimeInputError(f'{image} can not be read as an image: {_one_line(error)}') from None


def resized(height: int, width: int, limit: Sequence[int | None], scale: Sequence[int] | None = None,
            keep_ratio: bool = True) -> tuple[int, int]:
    """Height and width of an image in the input, see `resize` above; `limit` is the input's size, None: dynamic."""
    if not keep_ratio:
        target = (scale[1], scale[0]) if scale else [side or n for n, side in zip((height, width), limit)]
        return tuple(min(n, side or n) for n, side in zip(target, limit))
    ratios = [side / n for side, n in zip(limit, (height, width)) if side]
    if scale:
        ratios += [max(scale) / max(height, width), min(scale) / min(height, width)]
    ratio = min(ratios, default=1.)
    return tuple(max(1, int(n * ratio + 0.5)) for n in (height, width))


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize ``(H, W, C)`` as OpenCV does: bilinear between pixel centres, without smoothing, of the same type."""
    if image.shape[:2] == (height, width):
        return image
    out = image
    for axis, side in enumerate((height, width)):
        low, high, weight = _taps(image.shape[axis], side)
        weight = weight.reshape(-1, *[1] * (2 - axis))
        out = out.take(low, axis) * (1 - weight) + out.take(high, axis) * weight
    return np.rint(out).astype(image.dtype) if image.dtype == np.uint8 else out


def _taps(old: int, new: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of ``new`` pixels the two of ``old`` ones that it lies between, and the weight of the second."""
    at = ((np.arange(new, dtype=np.float32) + 0.5) * np.float32(old / new) - 0.5).clip(0, old - 1)
    low = np.floor(at).astype(int)
    return low, np.minimum(low + 1, old - 1), at - low


def paste(mask: np.ndarray, box: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Paste a mask ``(side, side)`` into its box of the image: ``(H, W)``, bilinear, 0 outside."""
    def weights(start, end, side, cells):  # of each cell for each pixel: triangles around the cells' centres
        at = (np.arange(side) + 0.5 - start) / max(end - start, 1e-6) * cells - 0.5
        return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(cells))).astype(np.float32)
    x1, y1, x2, y2 = box.tolist()
    rows, columns = weights(y1, y2, shape[0], mask.shape[0]), weights(x1, x2, shape[1], mask.shape[1])
    return rows @ mask @ columns.T


def run_lengths(mask: np.ndarray) -> dict:
    """COCO's uncompressed run-length encoding: column by column, the zeros first."""
    flat = np.concatenate([[0], mask.T.ravel().astype(np.int8), [-1]])  # as if a zero came first
    counts = np.diff(np.flatnonzero(np.diff(flat)), prepend=0).tolist()
    return dict(size=list(mask.shape), counts=counts)


def _blend(image: np.ndarray, colour: np.ndarray, alpha: float, where: np.ndarray | bool) -> np.ndarray:
    mixed = (image * (1 - alpha) + colour * alpha).astype(np.uint8)
    return mixed if where is True else np.where(where[..., None], mixed, image)


def _multiple_of_32(side: int) -> int:
    return -(-side // 32) * 32


def _name(classes: Sequence[str], label: int) -> str:
    return classes[label] if label < len(classes) else str(label)


def _one_line(error: BaseException) -> str:
    return ' '.join(str(error).split())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description='Run an ONNX file of `mmvision-mamba export` on images, with '
                                     'onnxruntime, NumPy and Pillow only.')
    parser.add_argument('model', help='the ONNX file')
    parser.add_argument('images', nargs='+', metavar='IMAGE', help='image files or folders of them')
    parser.add_argument('--out-dir', default='out', metavar='DIR',
                        help="for each image NAME: NAME.png, what was found drawn on it, and for a detector NAME.json, "
                        'for a segmentor NAME_map.png, whose pixels are labels; default: out')
    parser.add_argument('--score-thr', type=float, default=0.3, metavar='P',
                        help='instances with a lower score are neither drawn nor written; default: 0.3')
    parser.add_argument('--threads', type=int, metavar='N', help='default: one per core')
    args = parser.parse_args(argv)
    try:
        model = Model(args.model, threads=args.threads)
        if model.task == 'features':
            raise RuntimeInputError(f'{args.model} is a backbone: it has features, nothing to draw')
        paths, out_dir = _image_files(args.images), Path(args.out_dir)
        out_dir.mkdir(parents=True, exist_ok=True)
        for path, out in zip(paths, _outputs(paths, out_dir)):
            print(f'{path}: {_write(model, path, out, args.score_thr)}', flush=True)
    except RuntimeInputError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except OSError as error:
        print(f'error: --out-dir {args.out_dir}: {error.strerror or error}', file=sys.stderr)
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


def _outputs(paths: Sequence[Path], out_dir: Path) -> list[Path]:
    """Path without suffix of each image's results; none overwrite an image or another's results."""
    taken, outputs = {path.resolve() for path in paths}, []
    for path in paths:
        out = out_dir / path.stem
        while taken & (pictures := {Path(f'{out}{end}.png').resolve() for end in ('', '_map')}):
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
        _replace(f'{out}.json', lambda part: part.write_text(json.dumps(result.to_json())))
        return ', '.join(f'{_name(model.classes, label)} {score:.2f}' for label, score in zip(
            result.labels.tolist(), result.scores.tolist())) or 'nothing'
    _save(Image.fromarray(result.astype(np.uint8 if result.max() < 256 else np.uint16)), f'{out}_map.png')
    labels, counts = np.unique(result, return_counts=True)
    return ', '.join(f'{_name(model.classes, label)} {count / result.size:.1%}' for label, count in sorted(
        zip(labels.tolist(), counts.tolist()), key=lambda pair: -pair[1]))


def _save(image: Image.Image, path: str) -> None:
    _replace(path, lambda part: image.save(part, format='PNG'))


def _replace(path: str, write: Callable[[Path], object]) -> None:
    """Write `path` atomically: a full disk leaves no half of it, and an older file stays."""
    part = Path(f'{path}.part')
    try:
        write(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


if __name__ == '__main__':
    sys.exit(main())
