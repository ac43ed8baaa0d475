"""What an evaluation shows of a segmentor."""
from __future__ import annotations

import zlib
from collections.abc import Sequence

import cv2
import numpy as np

from ..evaluation.boundary_iou import count_boundaries
from ..evaluation.confusion import intersections_over_unions
from ..inference.drawing import draw_segments
from .parts import MOST_MATRIX, Picked, picked, rounded

SIDE = 320  # pixels: label maps are kept no larger, for pictures


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
        n = len(self.classes)
        valid = (truth != getattr(self.dataset, 'ignore_index', 255)) & (truth >= 0) & (truth < n) & (
            predicted >= 0) & (predicted < n)
        codes, counts = np.unique(truth[valid] * n + predicted[valid], return_counts=True)
        common, either = count_boundaries(truth, predicted, n, valid)
        return dict(path=str(sample.get('img_path') or ''), size=truth.shape, codes=codes, counts=counts,
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
