"""What an evaluation shows of a segmentor."""
from __future__ import annotations

import math
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from ..evaluation.boundary_iou import count_boundaries
from ..evaluation.confusion import intersections_over_unions
from ..inference.drawing import draw_segments
from .parts import MOST_MATRIX, Picked, picked, rounded

SIDE = 320  # pixels: label maps are kept no larger, for pictures
MOST_PIXELS = 2**22  # of a picture in strips, whose boundaries are measured


@dataclass
class _Strips:
    """What is known of a picture whose rows come in strips: counts of pixels, and maps of every `step`-th pixel."""
    step: int
    counts: Counter = field(default_factory=Counter)
    maps: list[tuple[np.ndarray, ...]] = field(default_factory=list)


class Segments:
    """Collects the label maps of images as counts of pixels; arguments as for `Detections`."""
    kind = 'segmentation'

    def __init__(self, dataset, classes: Sequence[str], colours: Sequence[Sequence[int]]):
        self.dataset, self.classes, self.colours = dataset, classes, colours

    def take(self, sample: dict, _=None) -> dict | None:
        """What is kept of an image and its prediction; None where its annotation is not loaded."""
        truth, predicted = (_labels(sample.get(key)) for key in ('gt_sem_seg', 'pred_sem_seg'))
        if truth is None or predicted is None or truth.shape != predicted.shape:
            return None
        valid = self._valid(truth, predicted)
        codes, counts = self._counted(truth, predicted, valid)
        return self._kept(sample, truth, predicted, valid, truth.shape, codes, counts)

    def take_strip(self, sample: dict, top: int, shape: tuple[int, int]) -> dict | None:
        """As `take`, for some rows of a picture; None before its last ones. Boundaries are those of every n-th row and
        column, so that 4 million pixels are left at most; their width is a share of the diagonal, there too.

        Args:
            sample: with the labels of these rows; they come in order.
            top: the first of them.
            shape: (height, width) of the picture.
        """
        truth, predicted = (_labels(sample.get(key)) for key in ('gt_sem_seg', 'pred_sem_seg'))
        if truth is None or predicted is None or truth.shape != predicted.shape:
            return None
        if top == 0:
            self._strips = _Strips(math.ceil(math.sqrt(max(1, shape[0] * shape[1] / MOST_PIXELS))))
        valid = self._valid(truth, predicted)
        strips = self._strips
        strips.counts.update(dict(zip(*(part.tolist() for part in self._counted(truth, predicted, valid)))))
        chosen = slice(-top % strips.step, None, strips.step), slice(None, None, strips.step)
        strips.maps.append(tuple(part[chosen].astype(np.int16) for part in (truth, predicted, valid)))
        if top + len(truth) < shape[0]:
            return None
        truth, predicted, valid = (np.concatenate(parts) for parts in zip(*strips.maps))
        codes = sorted(strips.counts)
        return self._kept(sample, truth, predicted, valid.astype(bool), shape, np.array(codes, np.int64),
                          np.array([strips.counts[code] for code in codes], np.int64))

    def _counted(self, truth: np.ndarray, predicted: np.ndarray, valid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Codes of the pairs of labels that there are, true · classes + predicted, and how many pixels each has."""
        n = len(self.classes)
        codes = truth[valid] * n + predicted[valid]
        if n * n > MOST_PIXELS:
            return np.unique(codes, return_counts=True)
        counts = np.bincount(codes, minlength=n * n)
        return np.flatnonzero(counts), counts[counts > 0]

    def _valid(self, truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        n = len(self.classes)
        return (truth != getattr(self.dataset, 'ignore_index', 255)) & (truth >= 0) & (truth < n) & (
            predicted >= 0) & (predicted < n)

    def _kept(self, sample: dict, truth: np.ndarray, predicted: np.ndarray, valid: np.ndarray, size: tuple[int, ...],
              codes: np.ndarray, counts: np.ndarray) -> dict:
        common, either = count_boundaries(truth, predicted, len(self.classes), valid)
        return dict(path=str(sample.get('img_path') or ''), size=size, codes=codes, counts=counts,
                    boundaries=[(int(i), int(common[i]), int(either[i])) for i in np.flatnonzero(either)],
                    truth=_packed(np.where(valid, truth, -1)), predicted=_packed(predicted))

    def analyse(self, kept: Sequence[dict], seed: int, number: int) -> tuple[dict, list[Picked]]:
        """As `Detections.analyse`."""
        n = len(self.classes)
        counts, boundaries, images = np.zeros(n * n, np.int64), np.zeros((n, 2), np.int64), np.zeros(n, np.int64)
        for one in kept:
            counts[one['codes']] += one['counts']
            images[np.unique(one['codes'] // n)] += 1
            for label, common, either in one['boundaries']:
                boundaries[label] += common, either
        matrix = counts.reshape(n, n)
        shares = intersections_over_unions(matrix)
        with np.errstate(invalid='ignore', divide='ignore'):
            shares['precision'] = (np.diag(matrix) / matrix.sum(axis=0)).tolist()
            shares['boundary_iou'] = (boundaries[:, 0] / boundaries[:, 1]).tolist()
        total = int(matrix.sum())
        analysis = dict(
            kind=self.kind, images=len(kept), pixels=total,
            overall=dict(iou=_mean(shares['IoU']), accuracy=float(np.trace(matrix) / total) if total else None,
                         mean_accuracy=_mean(shares['accuracy']), boundary_iou=_mean(shares['boundary_iou'])),
            classes=[dict(name=name, pixels=int(matrix[i].sum()), images=int(images[i]), iou=shares['IoU'][i],
                          accuracy=shares['accuracy'][i], precision=shares['precision'][i],
                          boundary_iou=shares['boundary_iou'][i]) for i, name in enumerate(self.classes)],
            confusion=matrix.tolist() if n <= MOST_MATRIX else None)
        return rounded(analysis), picked([self._quality(one) for one in kept], seed, number)

    def _quality(self, one: dict) -> tuple:
        """(mean IoU of the image over the classes that it has or is said to have; share of right pixels; both)."""
        n, codes, counts = len(self.classes), one['codes'], one['counts']
        truth, predicted = np.bincount(codes // n, counts, n), np.bincount(codes % n, counts, n)
        right = np.bincount(codes[codes // n == codes % n] // n, counts[codes // n == codes % n], n)
        there = truth + predicted > 0
        if not there.any():
            return float('nan'), 0, 'no pixel of it counts'
        iou = float((right[there] / (truth + predicted - right)[there]).mean())
        accuracy = float(right.sum() / counts.sum())
        return iou, accuracy, f'mIoU {iou:.2f}, {accuracy:.0%} of the pixels right'

    def draw(self, image: np.ndarray, one: dict, _: float) -> tuple[np.ndarray, np.ndarray]:
        """As `Detections.draw`."""
        from ..inference.fonts import drawable
        names = drawable(self.classes)
        pictures = [draw_segments(image, cv2.resize(_unpacked(one[key]), image.shape[1::-1],
                                                    interpolation=cv2.INTER_NEAREST).astype(int), names, self.colours)
                    for key in ('truth', 'predicted')]
        return pictures[0], pictures[1]


def _labels(map_: dict | None) -> np.ndarray | None:
    if map_ is None:
        return None
    labels = map_['data'] if 'data' in map_ else map_['sem_seg']
    return labels.squeeze(0).cpu().numpy().astype(np.int64)


def _packed(labels: np.ndarray) -> tuple[tuple[int, int], bytes]:
    step = max(1, -(-max(labels.shape) // SIDE))
    small = np.ascontiguousarray(labels[::step, ::step], np.int16)
    return small.shape, zlib.compress(small.tobytes(), 1)


def _unpacked(packed: tuple[tuple[int, int], bytes]) -> np.ndarray:
    return np.frombuffer(zlib.decompress(packed[1]), np.int16).reshape(packed[0])


def _mean(values: Sequence[float]) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float('nan')
