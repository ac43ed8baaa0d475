"""What an exported file computes against what PyTorch does."""
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..datasets.shapes import draw_scene
from ..errors import ExportError
from .parts import label_map

RELATIVE = dict(float32=1e-4, float16=1e-2)  # largest difference of features or logits, over the largest value
AGREEMENT = dict(float32=0.999, float16=0.99)  # share of pixels with the same label


@dataclass
class Row:
    """One line of the table: what was compared, on what, what came out, and what was asked for."""
    what: str
    images: str
    value: float
    bound: float
    at_most: bool  # else at least

    @property
    def passed(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound  # a NaN passes neither

    def cells(self) -> list[str]:
        number = f'{self.value:.2e}' if self.at_most else f'{self.value:.4%}'
        bound = f'≤ {self.bound:g}' if self.at_most else f'≥ {self.bound:.1%}'
        return [self.what, self.images, number, bound, 'ok' if self.passed else 'FAILED']


def verification_images(shape: tuple[int, int], count: int = 2, seed: int = 0) -> list[np.ndarray]:
    """Generated pictures (see `datasets.shapes`), RGB ``(h, w, 3)`` uint8."""
    rng = np.random.default_rng(seed)
    return [np.ascontiguousarray(draw_scene(rng, shape).image[..., ::-1]) for _ in range(count)]


def other_sizes(shape: tuple[int, int]) -> list[tuple[int, int]]:
    """Sizes to try where height and width are free: odd ones, another aspect, small ones."""
    height, width = shape
    return [(max(32, height // 2 + 5), max(32, width // 3 + 2)), (max(32, width // 4), height), (32, 45)]


def normalise(images: Sequence[np.ndarray], settings: dict) -> np.ndarray:
    """RGB images of one size -> what the model takes, ``(B, 3, H, W)`` float32."""
    pixels = np.stack(images).astype(np.float32)
    if settings['channel_order'] == 'BGR':
        pixels = pixels[..., ::-1]
    pixels = (pixels - np.float32(settings['mean'])) / np.float32(settings['std'])
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def batches(shape: tuple[int, int], settings: dict, batch: int, free: Sequence[int]) -> list[tuple[str, np.ndarray]]:
    """Named inputs to compare on: random and drawn ones, and of other sizes and numbers where those are free."""
    rng = np.random.default_rng(0)

    def both(name, size, count):
        yield f'random, {name}', rng.standard_normal((count, 3, *size), dtype=np.float32)
        yield f'drawn, {name}', normalise(verification_images(size, count, seed=count), settings)
    found = [*both(_name(batch, shape), shape, batch)]
    if 0 in free:
        found += [*both(_name(batch + 1, shape), shape, batch + 1)][1:]
    if 2 in free:
        for i, size in enumerate(other_sizes(shape)):
            found += [*both(_name(1 + i % 2 * (0 in free), size), size, 1 + i % 2 * (0 in free))][1:]
    return found


def _name(batch: int, size: tuple[int, int]) -> str:
    return f'{batch} × {size[0]} × {size[1]}'


@torch.no_grad()
def reference(model: nn.Module, part: str, images: torch.Tensor) -> list[np.ndarray]:
    """The model's own outputs, by its own toolbox: feature maps, or logits."""
    if part == 'backbone':
        return [out.numpy() for out in getattr(model, 'backbone', model)(images)]
    meta = dict(img_shape=images.shape[2:], ori_shape=images.shape[2:], pad_shape=images.shape[2:])
    return [model.encode_decode(images, [meta] * len(images)).numpy()]


def compare(model: nn.Module, part: str, names: Sequence[str], inputs: Sequence[tuple[str, np.ndarray]],
            expected: Sequence[list[np.ndarray]], run: Callable, precision: str) -> list[Row]:
    """Run the exported file on `inputs` and compare.

    Args:
        model: the PyTorch model.
        part: 'backbone' or 'segmentor'.
        names: of the file's outputs.
        inputs, expected: from `batches`, and from `reference` for each.
        run: what `formats.load` returned.
        precision: a key of `RELATIVE`.
    """
    rows = []
    for (about, images), wanted in zip(inputs, expected):
        try:
            found = run(images)
        except Exception as error:  # the runtimes have no exception in common
            raise ExportError(f'the file does not run on {about}, and is not kept: '
                              f'{" ".join(str(error).split())[:300]}') from error
        if part == 'backbone':
            rows += [Row(name, about, difference(a, b), RELATIVE[precision], True)
                     for name, a, b in zip(names, wanted, found)]
            continue
        labels = _labels(wanted[0], model)
        if names[0] == 'logits':
            rows.append(Row('logits', about, difference(wanted[0], found[0]), RELATIVE[precision], True))
            found = [_labels(found[0], model)]
        rows.append(Row('labels', about, float((found[0] == labels).mean()) if found[0].shape == labels.shape else 0.,
                        AGREEMENT[precision], False))
    return rows


def _labels(logits: np.ndarray, model: nn.Module) -> np.ndarray:
    return label_map(torch.from_numpy(logits), model.decode_head).numpy()


def difference(wanted: np.ndarray, found: np.ndarray) -> float:
    """The largest one, over the largest value wanted; infinite where shapes differ."""
    if wanted.shape != found.shape:
        return float('inf')
    return float(np.abs(wanted - found).max() / np.abs(wanted).max())


@torch.no_grad()
def image_reference(model: nn.Module, part: str, image: np.ndarray, preprocess: nn.Module) -> list[np.ndarray]:
    """What PyTorch makes of one RGB image: features, or logits ``(1, C, h, w)`` in the image's own size; its pixels as
    the model gets them; and those that OpenCV's resize would give it."""
    images, size = preprocess(torch.from_numpy(image))
    found = reference(model, part, images)
    if part == 'segmentor':
        height, width = size[0].tolist()
        corners = model.decode_head.align_corners
        found = [F.interpolate(torch.from_numpy(found[0])[:, :, :height, :width], image.shape[:2], mode='bilinear',
                               align_corners=corners).numpy()]
    return [*found, *_pixels(image, images, size[0].tolist(), preprocess)]


def _pixels(image, images, size, preprocess):
    import cv2
    wanted = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
    found = images[0, :, :size[0], :size[1]].permute(1, 2, 0) * preprocess.std + preprocess.mean
    return wanted, (found.flip(-1) if preprocess.channel_order == 'BGR' else found).numpy()


def compare_images(model: nn.Module, part: str, names: Sequence[str], inputs: Sequence[tuple[str, np.ndarray]],
                   expected: Sequence[list[np.ndarray]], run: Callable, precision: str) -> list[Row]:
    """As `compare`, of a file that takes images as they are, `expected` from `image_reference`."""
    rows = []
    for (about, image), (*wanted, opencv, own) in zip(inputs, expected):
        rows.append(Row('pixels, from OpenCV\'s', about, float(np.abs(opencv - own).max()), 1.01, True))

        def one(image):  # a map or logits without an axis for the batch
            return [out if part == 'backbone' else out[None] for out in run(image)]
        rows += compare(model, part, names, [(about, image)], [wanted], one, precision)
    return rows


def table(rows: Sequence[Row]) -> str:
    titles = ['output', 'images', 'measured', 'bound', '']
    cells = [titles, *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(titles))]
    return '\n'.join('  '.join(text.ljust(width) for text, width in zip(line, widths)).rstrip() for line in cells)
