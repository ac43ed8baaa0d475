"""Compares the outputs of an exported file with those of PyTorch."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from ..datasets.shapes import draw_scene
from ..errors import ExportError
from ..text import as_text
from .segmentor import label_map

RELATIVE = dict(float32=1e-4, float16=1e-2)  # largest difference of features or logits, over the largest value
AGREEMENT = dict(float32=0.999, float16=0.99)  # share of pixels with the same label


@dataclass
class Row:
    """One check, a line of the table: the output compared, the images, the measured value and its bound."""
    what: str
    images: str
    value: float
    bound: float
    at_most: bool  # the bound is the largest value that passes; else the smallest

    @property
    def passed(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound  # a NaN passes neither

    def cells(self) -> list[str]:
        """The row as text, see `table`."""
        number = f'{self.value:.2e}' if self.at_most else f'{self.value:.4%}'
        bound = f'≤ {self.bound:g}' if self.at_most else f'≥ {self.bound:.1%}'
        return [self.what, self.images, number, bound, 'ok' if self.passed else 'FAILED']


def verification_images(shape: tuple[int, int], count: int = 2, seed: int = 0, channels: int = 3,
                        settings: dict | None = None) -> list[np.ndarray]:
    """Generated pictures (see `datasets.shapes`), ``(h, w, channels)`` uint8, RGB again and again.

    With `settings` of a model of bands they are float32, on the scale of these.
    """
    rng = np.random.default_rng(seed)
    pictures = [draw_scene(rng, shape).image[..., ::-1] for _ in range(count)]
    pictures = [np.ascontiguousarray(picture[..., np.arange(channels) % 3]) for picture in pictures]
    if not (settings or {}).get('bands'):
        return pictures
    mean, std = (np.float32(settings[key]) for key in ('mean', 'std'))
    return [mean + (picture / np.float32(127.5) - 1) * 2 * std for picture in pictures]


def save_picture(picture: np.ndarray, path: Path) -> Path:
    """Save an image ``(h, w, C)`` without loss, in colour as PNG, else as .npy; returns the path of the file."""
    if picture.shape[2] == 3 and picture.dtype == np.uint8:
        path = path.with_suffix('.png')
        Image.fromarray(picture).save(path)
    else:
        path = path.with_suffix('.npy')
        np.save(path, picture)
    return path


def other_sizes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Heights and widths to try where both are symbolic: odd ones, another aspect ratio, small ones."""
    height, width = shape
    return [(max(32, height // 2 + 5), max(32, width // 3 + 2)), (max(32, width // 4), height), (32, 45)]


def normalise(images: Sequence[np.ndarray], settings: dict) -> np.ndarray:
    """RGB images of one size -> the model's input, ``(B, 3, H, W)`` float32."""
    pixels = np.stack(images).astype(np.float32)
    if settings['channel_order'] == 'BGR' and pixels.shape[-1] == 3:
        pixels = pixels[..., ::-1]
    pixels = (pixels - np.float32(settings['mean'])) / np.float32(settings['std'])
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def batches(shape: tuple[int, int], settings: dict, batch: int, free: Sequence[int],
            channels: int = 3) -> list[tuple[str, np.ndarray]]:
    """(name, input) pairs to compare on: noise and drawn images, in other sizes and numbers where these are free."""
    rng = np.random.default_rng(0)

    def both(name, size, count):
        yield f'random, {name}', rng.standard_normal((count, channels, *size), dtype=np.float32)
        yield f'drawn, {name}', normalise(verification_images(size, count, count, channels, settings), settings)
    named = [*both(_name(batch, shape), shape, batch)]
    if 0 in free:
        named += [*both(_name(batch + 1, shape), shape, batch + 1)][1:]
    if 2 in free:
        for i, size in enumerate(other_sizes(shape)):
            named += [*both(_name(1 + i % 2 * (0 in free), size), size, 1 + i % 2 * (0 in free))][1:]
    return named


def _name(batch: int, size: tuple[int, int]) -> str:
    return f'{batch} × {size[0]} × {size[1]}'


@torch.no_grad()
def reference(model: nn.Module, part: str, images: torch.Tensor) -> list[np.ndarray]:
    """The PyTorch model's outputs for normalised images: feature maps, or the logits of mmseg's `encode_decode`."""
    if part == 'backbone':
        return [out.numpy() for out in getattr(model, 'backbone', model)(images)]
    meta = dict(img_shape=images.shape[2:], ori_shape=images.shape[2:], pad_shape=images.shape[2:])
    return [model.encode_decode(images, [meta] * len(images)).numpy()]


def compare(model: nn.Module, part: str, names: Sequence[str], inputs: Sequence[tuple[str, np.ndarray]],
            expected: Sequence[list[np.ndarray]], run: Callable, precision: str) -> list[Row]:
    """Run the exported file on `inputs` and compare its outputs with `expected`.

    Args:
        model: the PyTorch model.
        part: 'backbone' or 'segmentor'.
        names: names of the file's outputs.
        inputs: from `batches`.
        expected: from `reference`, for each input.
        run: the file as a function, from `runtime.loaders.load`.
        precision: a key of `RELATIVE`.

    Raises:
        ExportError: the file does not run, or the model itself gives NaN.
    """
    rows = []
    for (input_name, images), reference_outputs in zip(inputs, expected):
        if any(np.isnan(values.min()) for values in reference_outputs):  # whose labels would all agree
            raise ExportError(f'the model gives NaN for {input_name}: its weights are, or its training had diverged.\n'
                              'Export an earlier checkpoint')
        try:
            outputs = run(images)
        except Exception as error:  # the runtimes have no exception in common
            raise ExportError(f'the file does not run on {input_name}, and is not kept: '
                              f'{" ".join(str(error).split())[:300]}') from error
        if part == 'backbone':
            rows += [Row(name, input_name, difference(a, b), RELATIVE[precision], True)
                     for name, a, b in zip(names, reference_outputs, outputs)]
            continue
        logits, output = reference_outputs[0], outputs[0]
        if names[0] == 'logits':
            rows.append(Row('logits', input_name, difference(logits, output), RELATIVE[precision], True))
            output = _labels(output, model)
        labels = _labels(logits, model)
        agreement = float((output == labels).mean()) if output.shape == labels.shape else 0.
        rows.append(Row('labels', input_name, agreement, AGREEMENT[precision], False))
    return rows


def _labels(logits: np.ndarray, model: nn.Module) -> np.ndarray:
    return label_map(torch.from_numpy(logits), model.decode_head).numpy()


def difference(wanted: np.ndarray, found: np.ndarray) -> float:
    """The largest difference over the largest value of `wanted`; infinite where the shapes differ."""
    if wanted.shape != found.shape:
        return float('inf')
    return float(np.abs(wanted - found).max() / np.abs(wanted).max())


@torch.no_grad()
def image_reference(model: nn.Module, part: str, image: np.ndarray, preprocess: nn.Module) -> list[np.ndarray]:
    """The PyTorch model's outputs for one RGB image, and the image resized in two ways.

    Returns:
        features, or logits ``(1, C, h, w)`` in the image's own size; the image as OpenCV resizes it; and as
        `preprocess` does, both RGB ``(height, width, 3)`` float32.
    """
    images, size, resized = preprocess(torch.from_numpy(image))
    outputs = reference(model, part, images)
    if part == 'segmentor':
        height, width = size[0].tolist()
        corners = model.decode_head.align_corners
        outputs = [F.interpolate(torch.from_numpy(outputs[0])[:, :, :height, :width], image.shape[:2], mode='bilinear',
                                 align_corners=corners).numpy()]
    return [*outputs, *_resized_pixels(image, images, resized[0].tolist(), preprocess)]


def _resized_pixels(image, images, size, preprocess):
    import cv2
    by_opencv = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
    by_opencv = by_opencv.reshape(*size, -1)
    pixels = images[0, :, :size[0], :size[1]].permute(1, 2, 0) * preprocess.std + preprocess.mean
    if preprocess.channel_order == 'BGR' and pixels.shape[-1] == 3:
        pixels = pixels.flip(-1)
    return by_opencv, pixels.numpy()


def compare_images(model: nn.Module, part: str, names: Sequence[str], inputs: Sequence[tuple[str, np.ndarray]],
                   expected: Sequence[list[np.ndarray]], run: Callable, precision: str) -> list[Row]:
    """As `compare`, for a file that takes the images themselves; `expected` is from `image_reference`."""
    def run_batch(image):  # maps and logits come without a batch axis
        return [output if part == 'backbone' else output[None] for output in run(image)]

    rows = []
    for (name, image), (*outputs, by_opencv, pixels) in zip(inputs, expected):
        rows.append(Row('pixels, from OpenCV\'s', name, float(np.abs(by_opencv - pixels).max()), 1.01, True))
        rows += compare(model, part, names, [(name, image)], [outputs], run_batch, precision)
    return rows


def compare_results(part: str, names: Sequence[str], image: str, expected, found, precision: str) -> list[Row]:
    """Compare what the runtime makes of an image file with PyTorch's: a backbone's features or a segmentor's map.

    Args:
        part: 'backbone' or 'segmentor'.
        names: of the file's outputs.
        image: the file, for the table.
        expected: from `reference.Reference`.
        found: from `runtime.Model`.
        precision: a key of `RELATIVE`.
    """
    if part == 'backbone':
        return [Row(name, image, difference(a, b), RELATIVE[precision], True)
                for name, a, b in zip(names, expected, found, strict=True)]
    agreement = float((expected == found).mean()) if expected.shape == found.shape else 0.
    return [Row('labels', image, agreement, AGREEMENT[precision], False)]


def table(rows: Sequence[Row]) -> str:
    """The checks as a table, aligned to the left."""
    titles = ['output', 'images', 'measured', 'bound', '']
    return as_text(titles, [row.cells() for row in rows], left=len(titles))
