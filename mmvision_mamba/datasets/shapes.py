"""Shapes: a small generated data set for detection, instance and semantic segmentation.

Every picture shows a few shapes over a textured background. Colour, texture, size, stretch and rotation are drawn
independently of the class, shapes hide parts of each other, and light and noise vary: only the outline tells the class.
Boxes, masks and semantic maps describe the visible pixels and agree to the last one.
"""
from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..errors import DataError
from . import CLASSES, KINDS

SPLITS = ('train', 'val')
RECIPE_FILE = 'shapes.json'
VERSION = 2  # of the drawing code: another version draws other pictures from the same seed
MIN_SIDE, MAX_SIDE = 32, 4096  # px; the backbone takes no smaller image
MIN_RADIUS = 6  # px; smaller outlines can't be told apart
OBJECT_RADII = (0.25, 0.45)  # of a shape that has the image to itself
MIN_VISIBLE = 0.6  # of a shape's pixels stay uncovered by the shapes in front of it
MAX_TURN = np.pi / 12  # of a shape, either way
SATURATION = 0.35  # left to backgrounds; most shapes, not all, are more colourful
SUBPIXEL_BITS = 4  # fixed-point bits of the coordinates given to cv2.fillPoly


# Outlines: closed curves inside the unit circle, `(n, 2)` arrays.

def _regular(corners: int) -> np.ndarray:
    """Corners on the unit circle, `(n, 2)`."""
    angle = 2 * np.pi * np.arange(corners) / corners
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


OUTLINES = dict(zip(CLASSES, (
    _regular(64),
    _regular(4) @ np.array([[1, 1], [-1, 1]]) / 2**0.5,  # sides along the axes: stays a rectangle when stretched
    _regular(3) @ np.array([[0, -1], [1, 0]]),  # on its base
)))


# Textures: functions of pixel coordinates that give a pattern in [0, 1] of shape `(H, W)`.

def _plain(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.zeros(np.broadcast_shapes(y.shape, x.shape))


def _wave(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    angle, period = rng.uniform(0, np.pi), rng.uniform(6, 24)
    return 0.5 + 0.5 * np.sin(2 * np.pi / period * (np.cos(angle) * x + np.sin(angle) * y))


def _stripes(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.round(_wave(rng, y, x))


def _checks(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.abs(_stripes(rng, y, x) - _stripes(rng, y, x))


def _clouds(rng: np.random.Generator, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    height, width = np.broadcast_shapes(y.shape, x.shape)
    cell = rng.uniform(4, 24)
    grid = rng.random((int(height / cell) + 2, int(width / cell) + 2))
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR)


TEXTURES: tuple[Callable, ...] = (_plain, _wave, _stripes, _checks, _clouds)


def _paint(rng: np.random.Generator, size: tuple[int, int], colour: np.ndarray, contrast: float) -> np.ndarray:
    """Draw a texture around a colour: `(H, W, 3)` float in about 0–255; a channel varies by at most `contrast`."""
    y, x = np.ogrid[:size[0], :size[1]]
    pattern = TEXTURES[rng.integers(len(TEXTURES))](rng, y, x)
    return colour + (pattern[..., None] - 0.5) * rng.uniform(-contrast, contrast, 3)


def _new_colour(rng: np.random.Generator, used: list[np.ndarray]) -> np.ndarray:
    """Draw four colours, take the one farthest from those `used`, and add it there: no shape may be invisible."""
    candidates = rng.uniform(20, 235, (4, 3))
    if used:
        distance = np.linalg.norm(candidates[:, None] - np.stack(used), axis=-1).min(axis=1)
        candidates = candidates[distance.argmax()][None]
    used.append(candidates[0])
    return candidates[0]


@dataclass(frozen=True)
class Scene:
    """One annotated picture of n shapes."""

    image: np.ndarray
    """`(H, W, 3)` uint8, BGR."""
    labels: np.ndarray
    """`(n,)` int, positions in `CLASSES`."""
    masks: np.ndarray
    """`(n, H, W)` bool, the visible pixels of each shape; no pixel belongs to two."""

    @property
    def semantic_map(self) -> np.ndarray:
        """`(H, W)` uint8: 1 + class where a shape is visible, else 0."""
        return (self.masks * (self.labels + 1)[:, None, None]).sum(axis=0).astype(np.uint8)


def _draw_mask(rng: np.random.Generator, size: tuple[int, int], label: int,
               radii: tuple[float, float] = (0.16, 0.3), margin: float = 0.6) -> np.ndarray:
    """Draw a shape of random size, stretch, rotation and place: `(H, W)` bool. Parts may lie outside the image.

    `radii`: least and largest radius, as parts of the image's shorter side. `margin`: how many radii, at least, the
    centre stays away from the image's border.
    """
    radius = rng.uniform(*(max(MIN_RADIUS, part * min(size)) for part in radii))
    turn, stretch = rng.uniform(-MAX_TURN, MAX_TURN), rng.uniform(0.65, 1)
    centre = [rng.uniform(margin * radius, length - margin * radius) for length in reversed(size)]
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    to_image = rotation @ np.diag([radius, radius * stretch])
    outline = np.rint((OUTLINES[CLASSES[label]] @ to_image.T + centre) * 2**SUBPIXEL_BITS).astype(np.int32)
    return cv2.fillPoly(np.zeros(size, np.uint8), [outline], 1, shift=SUBPIXEL_BITS).astype(bool)


def draw_scene(rng: np.random.Generator, size: tuple[int, int] = (128, 128)) -> Scene:
    """Draw three to five shapes, back to front, each leaving most of every other visible.

    Args:
        rng: source of all randomness; the same state gives the same scene.
        size: height and width in pixels. Default 128 × 128.
    """
    colours: list[np.ndarray] = []
    colour = _new_colour(rng, colours)
    image = _paint(rng, size, colour.mean() + SATURATION * (colour - colour.mean()), contrast=20)
    labels, masks, areas = [], np.zeros((0, *size), bool), np.zeros(0)
    for _ in range(rng.integers(3, 6)):
        label = int(rng.integers(len(CLASSES)))
        paint = _paint(rng, size, _new_colour(rng, colours), contrast=25)
        for _ in range(10):  # a shape that finds no place in ten tries is left out
            mask = _draw_mask(rng, size, label)
            covered = masks & ~mask
            if (covered.sum(axis=(1, 2)) >= MIN_VISIBLE * areas).all():
                image[mask] = paint[mask]
                labels.append(label)
                masks, areas = np.concatenate([covered, mask[None]]), np.append(areas, mask.sum())
                break
    return Scene(_develop(rng, image), np.array(labels), masks)


def draw_object(rng: np.random.Generator, label: int, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    """Draw one shape, of the class `CLASSES[label]`, larger than in `draw_scene`: `(H, W, 3)` uint8, BGR."""
    colours: list[np.ndarray] = []
    colour = _new_colour(rng, colours)
    image = _paint(rng, size, colour.mean() + SATURATION * (colour - colour.mean()), contrast=20)
    paint = _paint(rng, size, _new_colour(rng, colours), contrast=25)
    mask = _draw_mask(rng, size, label, OBJECT_RADII, margin=1)
    image[mask] = paint[mask]
    return _develop(rng, image)


def _develop(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Add blur, uneven light and noise: `(H, W, 3)` float to uint8."""
    if rng.random() < 0.5:
        image = cv2.GaussianBlur(image, (3, 3), 0)
    y, x = np.ogrid[-1:1:image.shape[0] * 1j, -1:1:image.shape[1] * 1j]
    light = 1 + rng.uniform(-0.25, 0.25) * y + rng.uniform(-0.25, 0.25) * x
    noise = rng.normal(0, rng.uniform(2, 8), image.shape)
    return np.clip(np.rint(image * light[..., None] + noise), 0, 255).astype(np.uint8)


def encode_rle(mask: np.ndarray) -> dict:
    """COCO's uncompressed run-length encoding of an `(H, W)` bool mask: it can express holes and separate parts."""
    pixels = np.concatenate([[False], mask.ravel(order='F'), [False]])
    ends = np.flatnonzero(np.diff(pixels.astype(np.int8)))
    counts = np.diff(ends, prepend=0, append=mask.size)
    return {'size': list(mask.shape), 'counts': (counts[:-1] if counts[-1] == 0 else counts).tolist()}


def _annotation(mask: np.ndarray, label: int) -> dict:
    """The COCO annotation of one shape; box as x, y, width, height in pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    x, y = int(columns[0]), int(rows[0])
    return {'category_id': label + 1, 'bbox': [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1],
            'area': int(mask.sum()), 'segmentation': encode_rle(mask), 'iscrowd': 0}


def _write_scenes(root: Path, split: str, count: int, seed: int, size: tuple[int, int],
                  progress: Callable[[str, int, int], None] | None) -> None:
    for folder in (root / split, root / 'semantic' / split, root / 'annotations'):
        folder.mkdir(parents=True, exist_ok=True)
    images, annotations = [], []
    for index in range(count):
        scene = draw_scene(np.random.default_rng([seed, SPLITS.index(split), index]), size)
        name = f'{index:06d}.png'
        _write_png(root / split / name, scene.image)
        _write_png(root / 'semantic' / split / name, scene.semantic_map)
        images.append({'id': index + 1, 'file_name': name, 'height': size[0], 'width': size[1]})
        for mask, label in zip(scene.masks, scene.labels.tolist()):
            annotations.append({'id': len(annotations) + 1, 'image_id': index + 1, **_annotation(mask, label)})
        if progress:
            progress(split, index + 1, count)
    content = {'info': {'description': 'Shapes', 'version': VERSION}, 'images': images, 'annotations': annotations,
               'categories': [{'id': i, 'name': name} for i, name in enumerate(CLASSES, 1)]}
    (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(content))


def _write_objects(root: Path, split: str, count: int, seed: int, size: tuple[int, int],
                   progress: Callable[[str, int, int], None] | None) -> None:
    for name in CLASSES:
        (root / split / name).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        label = index % len(CLASSES)
        rng = np.random.default_rng([seed, SPLITS.index(split), index, 1])  # 1: other pictures than the scenes'
        _write_png(root / split / CLASSES[label] / f'{index:06d}.png', draw_object(rng, label, size))
        if progress:
            progress(split, index + 1, count)


# Functions that write a split, by kind.
_WRITERS = dict(zip(KINDS, (_write_scenes, _write_objects)))


def _write_png(path: Path, image: np.ndarray) -> None:
    path.write_bytes(cv2.imencode('.png', image)[1].tobytes())  # unlike cv2.imwrite, raises when the disk is full


def make_shapes(out: str | os.PathLike, train: int, val: int, seed: int = 0, size: tuple[int, int] = (128, 128),
                progress: Callable[[str, int, int], None] | None = None, kind: str = 'scenes') -> bool:
    """Write a Shapes data set: COCO annotations, images and semantic maps, or one folder of images per class.

    Layout of 'scenes': `annotations/instances_{train,val}.json`, `{train,val}/*.png`, `semantic/{train,val}/*.png` and
    the recipe in `shapes.json`. Image i of a split depends on the seed, the split, i and the size only, not on the
    counts. The folder appears when it is complete.

    Args:
        out: the folder to make; may exist if it is empty or already holds the same data set.
        train, val: numbers of images, at least 1.
        seed: at least 0. Default 0.
        size: height and width of the images in pixels, 32 to 4096. Default 128 × 128.
        progress: called with split, images done and images in all after every image. Default: none.
        kind: 'scenes', of several shapes, for detection and segmentation; 'objects', of one shape each, for
            classification, as `{train,val}/CLASS/*.png`, as many of each class. Default: 'scenes'.

    Returns:
        Whether the data set was made; False if the very same one was there.

    Raises:
        DataError: numbers out of range, or `out` holds something else.
    """
    for name, value, least in (('train', train, 1), ('val', val, 1), ('seed', seed, 0)):
        if value < least:
            raise DataError(f'{name} must be at least {least}, got {value}')
    if not MIN_SIDE <= min(size) <= max(size) <= MAX_SIDE:
        raise DataError(f'size must be between {MIN_SIDE} and {MAX_SIDE} pixels, got {size[0]} × {size[1]}')
    if kind not in KINDS:
        raise DataError(f'kind must be one of {KINDS}, got {kind!r}')
    if kind == 'objects' and min(train, val) < len(CLASSES):
        raise DataError(f'train and val must be at least {len(CLASSES)}, one per class, got {train} and {val}')
    out = Path(out)
    recipe = {'dataset': 'Shapes', 'version': VERSION, 'seed': seed, 'train': train, 'val': val, 'size': list(size)}
    if kind != 'scenes':
        recipe['kind'] = kind
    if _holds(out, recipe):
        return False
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f'.{out.name}-', dir=out.parent))
        try:
            for split, count in (('train', train), ('val', val)):
                _WRITERS[kind](work, split, count, seed, size, progress)
            (work / RECIPE_FILE).write_text(json.dumps(recipe) + '\n')
            work.chmod(0o755)  # mkdtemp's folders are private
            work.rename(out)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as e:
        raise DataError(f'{out}: cannot write the data set: {e.strerror or e}') from e
    return True


def _holds(out: Path, recipe: dict) -> bool:
    """Whether `out` holds the data set of this recipe; raises DataError if it holds something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        existing = json.loads((out / RECIPE_FILE).read_text())
    except (OSError, ValueError):
        raise DataError(f'{out} exists and is not a Shapes data set: choose another folder') from None
    if existing != recipe:
        raise DataError(f'{out} holds another Shapes data set, {existing}: remove it or choose another folder')
    return True
