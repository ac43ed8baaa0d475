"""The content of the web page, without the page: an image, and a model's predictions for it as pictures and tables."""
from __future__ import annotations

import math
import os
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.structures import PixelData
from PIL import Image

from ..errors import ConfigError, DataError
from ..inference import Inferencer
from ..visualization.backbone_maps import BackboneMaps, overlay

DRAWN_SIDE = 640  # pixels; pictures are enlarged until their longer side has that many
LOWEST_SCORE = 0.05  # instances with a lower score are dropped
INSTANCE_COLUMNS = ('class', 'score', 'x1', 'y1', 'x2', 'y2', 'mask area (pixels)')
AREA_COLUMNS = ('class', 'pixels', 'share (%)')


def load_image(path: str | os.PathLike, model: Inferencer, max_pixels: int, max_side: int) -> tuple[np.ndarray, float]:
    """An uploaded image as BGR, uint8, scaled down where a side is longer than `max_side` pixels, and that scale.

    Raises:
        DataError: the image can't be read or has more than `max_pixels`; names the file without its folder.
    """
    name = Path(path).name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', Image.DecompressionBombWarning)
            with Image.open(path) as image:  # the header alone
                width, height = image.size
        if width * height > max_pixels:
            raise DataError(f'{name}: {width} × {height} pixels are more than the {max_pixels / 1e6:g} million that '
                            'this page takes; scale it down first')
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        # The loader below names the problem, or can read the format.
    try:
        image = model.read(path)
    except DataError as error:
        raise DataError(str(error).replace(str(path), name)) from None
    scale = min(1., max_side / max(image.shape[:2]))
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return image, scale


@dataclass
class Answer:
    """A model's prediction for one image, which is drawn and listed several times but computed once.

    Attributes:
        model: the model that is asked.
        image: BGR, uint8.
        scale: size of the image relative to the uploaded one.
        sample: the prediction.
        seconds: duration of the prediction.
    """
    model: Inferencer
    image: np.ndarray
    scale: float = 1.
    sample: object = field(init=False)
    seconds: float = field(init=False)
    _maps: BackboneMaps | None = None

    def __post_init__(self):
        start = time.perf_counter()
        self.sample = self.model.predict(self.image)[0]
        self.seconds = time.perf_counter() - start
        if 'pred_instances' in self.sample:
            instances = self.sample.pred_instances
            self.sample.pred_instances = instances[instances.scores >= LOWEST_SCORE]

    def point(self, x: float, y: float) -> tuple[int, int]:
        """A point of the uploaded image, in pixels, as a pixel of this one."""
        height, width = self.image.shape[:2]
        return min(int(x * self.scale), width - 1), min(int(y * self.scale), height - 1)

    def picture(self, score_thr: float) -> np.ndarray:
        """The prediction over the image, RGB; a small image is enlarged to make room for the labels."""
        factor = max(1, math.ceil(DRAWN_SIDE / max(self.image.shape[:2])))
        if factor == 1:
            return self.model.draw(self.image, self.sample, score_thr)
        image = self.image.repeat(factor, axis=0).repeat(factor, axis=1)
        return self.model.draw(image, _enlarged(self.sample, factor), score_thr)

    def table(self, score_thr: float) -> tuple[tuple[str, ...], list[list]]:
        """Column titles and rows: a detector's instances, best first, or a segmentor's classes, largest area first."""
        names = self.model.classes
        if 'pred_sem_seg' in self.sample:
            labels, pixels = np.unique(self.sample.pred_sem_seg.data.numpy(), return_counts=True)
            rows = [[names[label] if label < len(names) else 'none', int(count), round(100 * count / pixels.sum(), 2)]
                    for label, count in zip(labels, pixels)]
            return AREA_COLUMNS, sorted(rows, key=lambda row: -row[1])
        instances = self.sample.get('pred_instances')
        if instances is None:
            return INSTANCE_COLUMNS[:6], []
        instances = instances[instances.scores >= score_thr]
        masks = instances.get('masks')
        rows = [[names[label], round(score, 3), *(round(side, 1) for side in box)] for label, score, box in zip(
            instances.labels.tolist(), instances.scores.tolist(), instances.bboxes.tolist())]
        if masks is not None:
            rows = [[*row, int(area)] for row, area in zip(rows, np.asarray(masks).sum((1, 2)))]
        return INSTANCE_COLUMNS[:6 + (masks is not None)], sorted(rows, key=lambda row: -row[1])

    def maps(self, point: tuple[float, float] | None = None) -> list[tuple[np.ndarray, str]]:
        """RGB pictures with captions: attention (of `point`, in pixels, or on average), Δ and features of the stages.

        Raises:
            ConfigError: the model has no MambaVision, or the point lies outside the image.
        """
        if self._maps is None:
            self._maps = BackboneMaps(self.model, self.image)
        maps, rgb = self._maps, np.ascontiguousarray(self.image[..., ::-1])
        windowed = maps.stages[2:]
        pictures = []
        for stage in windowed:
            values = maps.attention(stage, point)
            if point is None:
                picture = overlay(rgb, values - values.min())
            else:
                picture = overlay(rgb, values)
                radius = max(2, max(picture.shape) // 100)
                cv2.drawMarker(picture, tuple(map(int, point)), (0, 229, 255), cv2.MARKER_CROSS, 4 * radius,
                               radius // 2 + 1)
            pictures.append((picture, f'stage {stage}: attention'))
        for stage in windowed:
            values = maps.delta(stage)
            pictures.append((overlay(rgb, values - values.min()), f'stage {stage}: Δ'))
        return pictures + [((255 * maps.components(stage)).astype(np.uint8), f'stage {stage}: features')
                           for stage in maps.stages]


def _enlarged(sample, factor: int):
    """A copy of a prediction, for its image with every pixel `factor` times as wide and high."""
    def repeated(values):
        return values.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    sample = sample.clone()
    for name, kind in (('pred_sem_seg', 'data'), ('pred_panoptic_seg', 'sem_seg')):
        if name in sample:
            setattr(sample, name, PixelData(**{kind: repeated(sample.get(name).get(kind))}))
    if 'pred_instances' in sample:
        instances = sample.pred_instances.clone()
        instances.bboxes = instances.bboxes * factor
        if 'masks' in instances:
            instances.masks = repeated(torch.as_tensor(instances.masks))
        sample.pred_instances = instances
    return sample


def trained_by_demo(folder: Path) -> list[tuple[str, Path]]:
    """(config, checkpoint) of each model that `mmvision-mamba demo` trained into `folder`.

    Raises:
        ConfigError: there is none.
    """
    models = []
    for name in ('detector', 'segmentor'):
        configs, last = sorted((folder / name).glob('*.py')), folder / name / 'last_checkpoint'
        if configs and last.is_file():
            checkpoint = folder / name / Path(last.read_text().strip()).name  # the folder may have been moved since
            if checkpoint.is_file():
                models.append((str(configs[0]), checkpoint))
    if not models:
        raise ConfigError(f'{folder}: no trained model there; run `mmvision-mamba demo` first (about 20 minutes), '
                          'or name a config and its checkpoint: mmvision-mamba demo-app CONFIG CHECKPOINT')
    return models
