"""The content of the web page, without the page: an image, and a model's predictions for it as pictures and tables."""
from __future__ import annotations

import math
import os
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch

from ..checkpoints.newest import pointed
from ..datasets.image_files import open_picture
from ..datasets.image_formats import read_header
from ..errors import ConfigError, DataError
from ..files import read_bytes
from ..inference import Inferencer
from ..inference.drawing import score_text
from ..inference.enlarging import enlarge, enlargement
from ..inference.kept_classes import keep_labels, labels_of
from .packed import area_of, mask_of, pack, with_masks, with_wide_maps

DRAWN_SIDE = 640  # pixels; pictures are enlarged until their longer side has that many
LOWEST_SCORE = 0.05  # instances with a lower score are not shown
DIMMED = 0.3  # brightness of what is not selected
INSTANCE_COLUMNS = ('#', 'class', 'score', 'x1', 'y1', 'x2', 'y2', 'mask area (pixels)')
NO_CLASS = 'none'  # the name of pixels without a class
AREA_COLUMNS = ('#', 'class', 'pixels', 'share (%)')


def load_image(path: str | os.PathLike, model: Inferencer, max_pixels: int, max_side: int) -> tuple[np.ndarray, float]:
    """An uploaded image as the model reads it, scaled down where a side is longer than `max_side` pixels; the scale.

    Raises:
        DataError: the image can't be read or has more than `max_pixels`; names the file without its folder.
    """
    name = Path(path).name
    try:
        _, (width, height, *_) = read_header(read_bytes(path))
    except DataError as error:
        raise DataError(f'{name}: {error}') from None
    except OSError as error:
        raise DataError(f'{name}: can not be read ({error.strerror or error})') from None
    if width * height > max_pixels:
        raise DataError(f'{name}: {width} × {height} pixels are more than the {max_pixels / 1e6:g} million that '
                        'this page takes; scale it down first')
    try:
        image = model.read(path)
    except DataError as error:
        raise DataError(str(error).replace(str(path), name)) from None
    scale = min(1., max_side / max(image.shape[:2]))
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        # OpenCV takes no more than four bands at once.
        image = np.dstack([cv2.resize(image[..., i:i + 4], (width, height), interpolation=cv2.INTER_AREA)
                           for i in range(0, image.shape[2], 4)])
    return image, scale


def looks_otherwise(path: str | os.PathLike) -> bool:
    """Whether browsers show an image otherwise than models see it: with transparent pixels, or not at all."""
    with open_picture(read_bytes(path)) as image:
        return image.has_transparency_data or image.format not in ('JPEG', 'PNG', 'WEBP', 'GIF', 'BMP')


@dataclass
class Answer:
    """A model's prediction for one image, which is drawn and listed several times but computed once.

    Instances are numbered by their score, segments by their area, from 1: the numbers of table and picture. Pixels
    without a class are the last segment.

    Attributes:
        model: the model that is asked.
        image: as the model reads it, see `Inferencer.read`.
        scale: size of the image relative to the uploaded one. Tables have the pixels of the latter.
        sample: the prediction, as `pack` keeps it.
        seconds: duration of the prediction.
    """
    model: Inferencer
    image: np.ndarray
    scale: float = 1.
    sample: object = field(init=False)
    seconds: float = field(init=False)

    def __post_init__(self):
        start = time.perf_counter()
        self.sample = pack(self.model.predict(self.image)[0])
        self.seconds = time.perf_counter() - start
        self._numbered = self.sample.clone()
        self._regions: list[tuple[int, int, int]] = []  # (segment, label, pixels), of the largest first
        if 'pred_instances' in self.sample:
            instances = self.sample.pred_instances
            instances = instances[instances.scores.argsort(descending=True)]
            instances.numbers = torch.arange(1, len(instances) + 1)
            self._numbered.pred_instances = instances[instances.scores >= LOWEST_SCORE]
        if (segments := self._segments()) is not None:
            found = zip(*np.unique(segments, return_counts=True))
            self._regions = sorted(((int(segment), self._label(segment), int(pixels)) for segment, pixels in found),
                                   key=lambda region: (region[1] >= len(self.model.classes), -region[2]))
            self._number_segments(segments)

    @property
    def shown(self) -> np.ndarray:
        """The image to look at, BGR, uint8."""
        return self.model.picture(self.image)

    @property
    def has_scores(self) -> bool:
        """Whether there are instances, which have scores, and no segments."""
        return not self._regions

    @property
    def found(self) -> list[str]:
        """The names of the classes that are there, in the order of their labels."""
        labels = {label for _, label, _ in self._regions}
        if self.has_scores and 'pred_instances' in self._numbered:
            labels = set(self._numbered.pred_instances.labels.tolist())
        return [name for label, name in enumerate(self.model.classes) if label in labels]

    def point(self, x: float, y: float) -> tuple[int, int]:
        """A point of the uploaded image, in pixels, as a pixel of this one."""
        height, width = self.image.shape[:2]
        return max(0, min(int(x * self.scale), width - 1)), max(0, min(int(y * self.scale), height - 1))

    def picture(self, score_thr: float, classes: Collection[str] = (), selected: int | None = None) -> np.ndarray:
        """The prediction over the image, RGB; a small image is enlarged to make room for the labels.

        Args:
            score_thr: instances are drawn whose score is higher.
            classes: the names of those to draw. Default: all.
            selected: the number of an instance or segment; the rest of the picture is dimmed. Default: none.
        """
        sample = with_masks(self._kept(score_thr, classes), self.image.shape[:2])
        picture = self.model.draw_on(self.shown, sample, score_thr, DRAWN_SIDE)
        region = None if selected is None else self._region(selected)
        if region is None:
            return picture
        region = region.repeat(self._factor, 0).repeat(self._factor, 1)[..., None]
        if not self.has_scores:
            return np.where(region, picture, (DIMMED * picture).astype(np.uint8))
        instances = sample.pred_instances
        sample.pred_instances = instances[instances.numbers == selected]
        image, sample = enlarge(self.shown, sample, DRAWN_SIDE)
        image = np.where(region, image, (DIMMED * picture[..., ::-1]).astype(np.uint8))
        return self.model.draw_on(image, sample, score_thr)

    def table(self, score_thr: float, classes: Collection[str] = ()) -> tuple[tuple[str, ...], list[list]]:
        """Column titles and rows: a detector's instances, best first, or segments, largest area first.

        Args:
            score_thr: instances are listed whose score is higher.
            classes: the names of those to list. Default: all.
        """
        names, area = self.model.classes, self.scale ** 2
        if not self.has_scores:
            total = self.image.shape[0] * self.image.shape[1]
            rows = [[number, names[label] if label < len(names) else NO_CLASS, round(pixels / area),
                     f'{100 * pixels / total:.2f}'] for number, (_, label, pixels) in enumerate(self._regions, 1)]
            return AREA_COLUMNS, [row for row in rows if not classes or row[1] in classes]
        instances = self._kept(score_thr, classes).get('pred_instances')
        if instances is None:
            return INSTANCE_COLUMNS[:7], []
        masks = instances.get('masks')
        rows = [[number, names[label], score_text(score), *(round(side / self.scale, 1) for side in box)]
                for number, label, score, box in zip(instances.numbers.tolist(), instances.labels.tolist(),
                                                     instances.scores.tolist(), instances.bboxes.tolist())]
        if masks is not None:
            rows = [[*row, round(pixels / area)] for row, pixels in zip(rows, map(area_of, masks))]
        return INSTANCE_COLUMNS[:7 + (masks is not None)], rows

    def nothing(self, score_thr: float, classes: Collection[str] = ()) -> str:
        """A sentence where the table is empty; else ''."""
        what = f'Nothing{" of these classes" if classes else ""} found'
        rows = self.table(score_thr, classes)[1]
        if not self.has_scores:
            return '' if any(row[1] != NO_CLASS for row in rows) else f'{what}.'
        if rows:
            return ''
        best = self.table(0, classes)[1]
        return f'{what} above {score_thr:.2f}' + (f'; the best score is {best[0][2]}.' if best else '.')

    def number_at(self, x: float, y: float, score_thr: float, classes: Collection[str] = ()) -> int | None:
        """The number of the smallest thing at a pixel of `picture`; None where there is none."""
        column, row = (int(side / self._factor) for side in (x, y))
        height, width = self.image.shape[:2]
        if not (0 <= row < height and 0 <= column < width):
            return None
        hits = [(region.sum(), number) for number, *_ in self.table(score_thr, classes)[1]
                if (region := self._region(number)) is not None and region[row, column]]
        return min(hits)[1] if hits else None

    @property
    def _factor(self) -> int:
        """How much `picture` is enlarged."""
        return enlargement(self.image, DRAWN_SIDE)

    def _kept(self, score_thr: float, classes: Collection[str]):
        """A copy of the prediction with numbers, reduced to what is above a score, and to some classes."""
        sample = with_wide_maps(self._numbered)
        if 'pred_instances' in sample:
            sample.pred_instances = sample.pred_instances[sample.pred_instances.scores > score_thr]
        if not classes:
            return sample
        return keep_labels(sample, labels_of(list(classes), self.model.classes), len(self.model.classes))

    def _segments(self) -> np.ndarray | None:
        """The segment of each pixel, or None for a detector: labels, or mmdet's ids of panoptic segments."""
        seg = self.sample.get('pred_panoptic_seg', self.sample.get('pred_sem_seg'))
        return None if seg is None else seg.get('data' if 'data' in seg else 'sem_seg')[0].long().numpy()

    def _number_segments(self, segments: np.ndarray) -> None:
        """Give the pixels of the map that is drawn the numbers of their segments."""
        ids, inverse = np.unique(segments, return_inverse=True)
        number_of = {segment: number for number, (segment, *_) in enumerate(self._regions, 1)}
        numbers = np.array([number_of[segment] for segment in ids.tolist()])[inverse.reshape(segments.shape)]
        name = 'pred_panoptic_seg' if 'pred_panoptic_seg' in self.sample else 'pred_sem_seg'
        numbered = self._numbered.get(name).clone()
        numbered.numbers = torch.from_numpy(numbers).int()[None]
        setattr(self._numbered, name, numbered)

    def _label(self, segment: int) -> int:
        if 'pred_panoptic_seg' not in self.sample:
            return int(segment)
        from mmdet.evaluation import INSTANCE_OFFSET
        return int(segment % INSTANCE_OFFSET)

    def _region(self, number: int) -> np.ndarray | None:
        """The pixels of an instance or segment, bool ``(H, W)``: its mask, or else its box."""
        if not self.has_scores:
            return self._segments() == self._regions[number - 1][0] if 0 < number <= len(self._regions) else None
        instances = self._numbered.pred_instances
        instances = instances[instances.numbers == number]
        if not len(instances):
            return None
        if 'masks' in instances:
            return mask_of(instances.masks[0])
        region = np.zeros(self.image.shape[:2], bool)
        x1, y1, x2, y2 = instances.bboxes[0].clamp(min=0).tolist()
        region[int(y1):math.ceil(y2), int(x1):math.ceil(x2)] = True
        return region


def trained_by_demo(folder: Path) -> list[tuple[str, Path]]:
    """(config, checkpoint) of each model that `mmvision-mamba demo` trained into `folder`.

    Raises:
        ConfigError: there is none.
    """
    models = []
    for name in ('detector', 'segmentor'):
        configs, checkpoint = sorted((folder / name).glob('*.py')), pointed(folder / name)
        if configs and checkpoint is not None and checkpoint.is_file():
            models.append((str(configs[0]), checkpoint))
    if not models:
        raise ConfigError(f'{folder}: no trained model there; run `mmvision-mamba demo` first (about 20 minutes), '
                          'or name a config and its checkpoint: mmvision-mamba demo-app CONFIG CHECKPOINT')
    return models
