"""What an evaluation shows of a detector."""
from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from ..evaluation.calibration import calibration
from ..evaluation.confusion import count_pairs
from ..evaluation.detection_matches import SIZES, THRESHOLDS, Found, ImageDetections, gather
from ..evaluation.error_kinds import MATCHED, RIGHT, Errors, find_errors
from ..evaluation.federated import Rule
from ..evaluation.score_thresholds import GRID, Counts
from ..inference.drawing import draw_instances
from ..inference.results import rle
from .parts import MOST_CURVES, MOST_MATRIX, Picked, listed, picked, rounded

LEAST_SCORE = 0.05  # of detections whose calibration is measured: below are thousands that nobody looks at
_DRAWN = 50  # most detections of a picture, and most whose masks are kept


class Detections:
    """Collects the detections of images with their objects.

    Args:
        dataset: tells objects, as mmengine's data sets do.
        classes: names.
        colours: RGB of each.
        unjudged: says of which classes an image tells nothing, see `evaluation.federated`. Default: of none.
    """
    kind = 'detection'

    def __init__(self, dataset, classes: Sequence[str], colours: Sequence[Sequence[int]], unjudged: Rule | None = None):
        self.unjudged, self.dataset, self.classes, self.colours = unjudged, dataset, classes, colours
        self._places: dict[tuple, int] | None = None
        self._keys: tuple[str, ...] = ()

    def take(self, sample: dict, _=None) -> dict | None:
        """What is kept of an image and its prediction, as plain arrays; None where its objects are not known."""
        instances = self._instances(sample)
        if instances is None:
            return None
        found = sample['pred_instances']
        scores = _array(found['scores']).astype(float)
        order = np.argsort(-scores, kind='stable')
        boxes = _array(found['bboxes']).astype(float).reshape(-1, 4)[order]
        true_boxes = np.array([one['bbox'] for one in instances], float).reshape(-1, 4)
        crowd = np.array([bool(one.get('ignore_flag')) for one in instances], bool)
        size = tuple(int(side) for side in sample['ori_shape'][:2])
        masks, true_masks = found.get('masks'), [one.get('mask') for one in instances]
        if masks is None or not all(true_masks):
            masks = true_masks = None
            regions, true_regions = _xywh(boxes), _xywh(true_boxes)
            areas, true_areas = (part[:, 2] * part[:, 3] for part in (regions, true_regions))
        else:
            masks = list(masks) if isinstance(masks, list) else rle(_array(masks))
            masks = regions = [masks[i] for i in order]
            true_masks = true_regions = [_run_lengths(mask, size) for mask in true_masks]
            areas, true_areas = (np.array([float(coco_mask.area(one)) for one in part]) for part in (
                regions, true_regions))
        overlaps = np.zeros((len(boxes), len(true_boxes)))
        if overlaps.size:
            overlaps = np.array(coco_mask.iou(regions, true_regions, crowd.astype(np.uint8)))
        labels = _array(found['labels']).astype(np.int64)[order]
        unjudged = None if self.unjudged is None else self.unjudged(sample.get('img_id'))
        image = ImageDetections(
            labels, scores[order], areas,
            np.array([one['bbox_label'] for one in instances], np.int64), true_areas, crowd, overlaps,
            None if unjudged is None else unjudged[labels])
        return dict(path=str(sample.get('img_path') or ''), size=size, image=image, boxes=boxes[:_DRAWN],
                    true_boxes=true_boxes, masks=None if masks is None else masks[:_DRAWN], true_masks=true_masks)

    def _instances(self, sample: dict) -> list[dict] | None:
        if self._places is None:
            fields = dict(img_id='img_id', img_path='img_path', tile_offset='tile')
            self._keys = tuple(key for key in fields if sample.get(key) is not None)
            self._places = {}
            for i in range(len(self.dataset)):
                info = self.dataset.get_data_info(i)
                self._places[tuple(_plain(info.get(fields[key])) for key in self._keys)] = i
        place = self._places.get(tuple(_plain(sample.get(key)) for key in self._keys))
        return None if place is None else self.dataset.get_data_info(place).get('instances')

    # What all images show --------------------------------------------------------------------------------------------

    def analyse(self, kept: Sequence[dict], seed: int, number: int) -> tuple[dict, list[Picked]]:
        """The analysis, as plain values, and images to look at: `number` of the worst, of the best, and at random."""
        images = [one['image'] for one in kept]
        found = gather(images, len(self.classes))
        errors = find_errors(images, len(self.classes))
        best = Counts.of(found).best()
        threshold = 0.5 if best is None else best.score_thr
        precisions = found.average_precisions()
        on = 'masks' if any(one['masks'] is not None for one in kept) else 'boxes'
        analysis = dict(
            kind=self.kind, measured_on=on, images=len(kept), objects=int(found.numbers.sum()),
            overall=dict(ap=_mean(precisions), ap50=_mean(precisions[0]), ap75=_mean(precisions[5]),
                         best=None if best is None else vars(best)),
            classes=[self._of_class(label, found, precisions, errors, images) for label in range(len(self.classes))],
            sizes={name: self._of_size(images, sizes) for name, sizes in SIZES.items()},
            errors={kind: dict(count=int(errors.counts[kind].sum()), cost=cost)
                    for kind, cost in errors.mean_costs().items()},
            curves=self._curves(found), confusion=self._confusion(images, threshold),
            calibration=_calibration(found))
        qualities = [self._quality(image, kinds, threshold) for image, kinds in zip(images, errors.kinds)]
        return rounded(analysis), picked(qualities, seed, number)

    def _of_class(self, label: int, found: Found, precisions: np.ndarray, errors: Errors,
                  images: Sequence[ImageDetections]) -> dict:
        best = Counts.of(found, label).best()
        return dict(
            name=self.classes[label], objects=int(found.numbers[label]),
            images=sum(bool((image.true_labels[~image.crowd] == label).any()) for image in images),
            ap=_mean(precisions[:, label]), ap50=float(precisions[0, label]), best=None if best is None else vars(best),
            errors={kind: dict(count=int(errors.counts[kind][label]), cost=float(errors.costs[kind][label]))
                    for kind in errors.counts})

    def _of_size(self, images: Sequence[ImageDetections], sizes: tuple[float, float]) -> dict:
        found = gather(images, len(self.classes), THRESHOLDS, sizes)
        precisions, number = found.average_precisions(), int(found.numbers.sum())
        return dict(objects=number, ap=_mean(precisions), ap50=_mean(precisions[0]),
                    recall=float(found.right[0].sum() / number) if number else None)

    def _curves(self, found: Found) -> dict:
        """Over the thresholds of `GRID`: of all classes together, and, of not too many, of each."""
        labels = [None, *(range(len(self.classes)) if len(self.classes) <= MOST_CURVES else ())]
        curves = [{name: listed(values) for name, values in Counts.of(found, label).at(GRID).items()}
                  for label in labels]
        return dict(thresholds=listed(GRID), all=curves[0], classes=curves[1:])

    def _confusion(self, images: Sequence[ImageDetections], threshold: float) -> list | None:
        """Objects of each true class, the background last, by detected class, of scores above the threshold."""
        if len(self.classes) > MOST_MATRIX:
            return None
        counts = np.zeros((len(self.classes) + 1,) * 2, np.int64)
        for image in images:
            kept, real = image.scores > threshold, ~image.crowd
            if image.unjudged is not None:  # they may be a second name of an object, which is no confusion
                same = image.labels[:, None] == image.true_labels
                kept &= ~image.unjudged | (same & (image.overlaps >= MATCHED)).any(axis=1)
            overlaps = image.overlaps[kept]
            count_pairs(counts, image.true_labels[real].tolist(), image.labels[kept].tolist(), overlaps[:, real].T,
                        (overlaps[:, ~real] >= MATCHED).any(axis=1), MATCHED)
        return counts.tolist()

    # Single images ---------------------------------------------------------------------------------------------------

    def _quality(self, image: ImageDetections, kinds: np.ndarray, threshold: float) -> tuple:
        """(F1 of the image at the threshold; a further order of equal ones; what is said of it)."""
        shown = image.scores > threshold
        right = int((kinds[shown] == RIGHT).sum())
        wrong = int(shown.sum()) - right - int((kinds[shown] == 'left out').sum())
        objects = int((~image.crowd).sum())
        lost = max(objects - right, 0)
        f1 = 2 * right / (right + wrong + objects) if right + wrong + objects else float('nan')
        return f1, right - wrong - lost, f'{right} found, {lost} missed, {wrong} wrong'

    def draw(self, image: np.ndarray, one: dict, threshold: float) -> tuple[np.ndarray, np.ndarray]:
        """Pictures of truth and prediction over an image, RGB, of any size."""
        detections = one['image']
        shown = np.flatnonzero(detections.scores[:len(one['boxes'])] > threshold)
        pictures = []
        for boxes, labels, masks, scores in (
                (one['true_boxes'], detections.true_labels, one['true_masks'], None),
                (one['boxes'][shown], detections.labels[shown],
                 None if one['masks'] is None else [one['masks'][i] for i in shown], detections.scores[shown])):
            height, width = one['size']
            scale = np.array([image.shape[1] / width, image.shape[0] / height] * 2)
            decoded = None if masks is None else np.array([cv2.resize(
                coco_mask.decode(mask), image.shape[1::-1], interpolation=cv2.INTER_NEAREST) for mask in masks], bool)
            pictures.append(draw_instances(image, boxes * scale, [self.drawn[i] for i in labels],
                                           [self.colours[i] for i in labels], decoded, scores))
        return pictures[0], pictures[1]

    @cached_property
    def drawn(self) -> Sequence[str]:
        """Names as fonts can draw them."""
        from ..inference.fonts import drawable
        return drawable(self.classes)


def _calibration(found: Found) -> dict:
    kept = ~found.left_out[0] & (found.scores >= LEAST_SCORE)
    measured = calibration(found.scores[kept], found.right[0, kept])
    return dict(counts=measured.counts.tolist(), scores=listed(measured.scores), right=listed(measured.right),
                error=measured.error, bias=measured.bias, least_score=LEAST_SCORE)


def _array(values) -> np.ndarray:
    values = getattr(values, 'tensor', values)
    return values.detach().cpu().numpy() if hasattr(values, 'detach') else np.asarray(values)


def _plain(value):
    return tuple(int(part) for part in value[:2]) if isinstance(value, list | tuple) else value


def _xywh(boxes: np.ndarray) -> np.ndarray:
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)


def _run_lengths(mask: dict | list, size: tuple[int, int]) -> dict:
    """A mask of annotations, polygons or run lengths, as pycocotools' bytes."""
    if isinstance(mask, list):
        return coco_mask.merge(coco_mask.frPyObjects(mask, *size))
    return coco_mask.frPyObjects(mask, *size) if isinstance(mask['counts'], list) else mask


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float('nan')
