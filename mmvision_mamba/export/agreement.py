"""Compares an exported detector with mmdet's own `predict`: detections are matched by class and overlap."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torchvision.ops import box_iou

from ..runtime.standalone import Detections, results_of_queries
from .features import mask_threshold
from .preprocess import paste
from .reference import Reference
from .verify import AGREEMENT, Row

SCORES = dict(float32=1e-3, float16=1e-2)  # largest difference of matched scores
OVERLAP = dict(float32=0.99, float16=0.9)  # smallest IoU of matched boxes, and of all masks together
# Share of the instances for which both hold, of models that choose queries by their scores: where two of these are
# nearly equal, rounding decides which query starts where, in PyTorch too.
SHARE = dict(float32=0.95, float16=0.8)


@dataclass
class Agreement:
    """Matched detections of two detectors, summed up over images.

    Args:
        tolerance: of scores; a detection this close to the score at which lists end may be missing on either side.
        by_masks: detections are matched by their masks: boxes, if there are any, are those around them, which one
            pixel moves. Default: by boxes.
        chosen: the model chooses its queries by their scores, so some instances may differ. Default: none may.
        overlap: the IoU from which a box does not differ.

    Attributes:
        images: number of images compared.
        detections: number of detections of the reference.
        unmatched: detections of one side without a counterpart of the same class with an IoU of 0.5 or more.
        score: largest difference between matched scores.
        box_iou: smallest IoU of matched boxes.
        mask_pixels: pixels in both masks and in either, over all matched pairs.
        panoptic: (equal pixels, pixels) of panoptic maps.
        differing: detections that are unmatched, or whose box or score differs by more than `overlap` and `tolerance`.
    """
    tolerance: float = SCORES['float32']
    by_masks: bool = False
    chosen: bool = False
    overlap: float = OVERLAP['float32']
    images: int = 0
    detections: int = 0
    unmatched: int = 0
    score: float = 0.
    box_iou: float = 1.
    mask_pixels: tuple[int, int] = 0, 0
    panoptic: tuple[int, int] = 0, 0
    differing: int = 0

    @property
    def mask_iou(self) -> float:
        both, either = self.mask_pixels
        return both / either if either else 1.

    def rows(self, about: str, masks: bool, precision: str) -> list[Row]:
        """Rows of the table of checks; `about` names the images, and `masks` adds a row for these."""
        images = f'{about}: {self.detections} found'
        if self.chosen:
            return [Row('instances', images, 1 - self.differing / max(self.detections, 1), SHARE[precision], False)]
        rows = [Row('unmatched', images, self.unmatched, 0, True),
                Row('scores', images, self.score, SCORES[precision], True)]
        if not self.by_masks:
            rows.append(Row('boxes, IoU', images, self.box_iou, OVERLAP[precision], False))
        if masks:
            rows.append(Row('masks, IoU', images, self.mask_iou, OVERLAP[precision], False))
        if self.panoptic[1]:
            rows.append(Row('panoptic', about, self.panoptic[0] / self.panoptic[1], AGREEMENT[precision], False))
        return rows

    def add(self, reference: Detections, found: Detections, score_thr: float, max_per_img: int) -> None:
        """Match one image's detections with the reference's and add them; both sides are sorted by score, best first.

        Args:
            reference: of the PyTorch model.
            found: of the exported one.
            score_thr: both models drop detections with lower scores.
            max_per_img: both models keep at most that many detections.
        """
        self.images += 1
        self.detections += len(reference.scores)
        if reference.panoptic is not None:
            same = reference.panoptic == found.panoptic
            self.panoptic = self.panoptic[0] + int(np.sum(same)), self.panoptic[1] + reference.panoptic.size
        if self.by_masks:
            overlap = mask_iou(reference.masks, found.masks)
        else:
            overlap = box_iou(*(torch.as_tensor(side.boxes).double() for side in (reference, found))).numpy()
        overlap = np.where(reference.labels[:, None] == found.labels, overlap, 0)
        unmatched = set(range(len(found.scores)))
        missing = []
        for i in range(len(reference.scores)):
            # Of boxes that coincide, take the one with the nearest score.
            best = max(unmatched, default=None, key=lambda j: (round(overlap[i, j], 3), -abs(
                reference.scores[i] - found.scores[j])))
            if best is None or overlap[i, best] < 0.5:
                missing.append((reference, i))
                continue
            unmatched.remove(best)
            difference = float(abs(reference.scores[i] - found.scores[best]))
            self.differing += difference > self.tolerance or overlap[i, best] < self.overlap
            self.score = max(self.score, difference)
            self.box_iou = min(self.box_iou, float(overlap[i, best]))
            if reference.masks is not None:
                a, b = reference.masks[i], found.masks[best]
                self.mask_pixels = self.mask_pixels[0] + int((a & b).sum()), self.mask_pixels[1] + int((a | b).sum())
        for side, i in missing + [(found, j) for j in unmatched]:
            lowest = max(score_thr, float(side.scores[-1]) if len(side.scores) == max_per_img else 0)
            if float(side.scores[i]) > lowest + self.tolerance:
                self.unmatched += 1
                self.differing += 1


def mask_iou(masks: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The IoU ``(n, m)`` of masks ``(n, H, W)`` and others ``(m, H, W)``; 1 of two that are empty."""
    first, second = (torch.from_numpy(side).flatten(1).float() for side in (masks, others))
    both = first @ second.T
    either = first.sum(1)[:, None] + second.sum(1) - both
    return torch.where(either > 0, both / either, 1.).numpy()


def limits(model: nn.Module) -> tuple[float, int]:
    """The score below which a detector drops detections, and how many it keeps of an image at most."""
    if hasattr(model, 'panoptic_fusion_head'):
        return 0, (model.panoptic_fusion_head.test_cfg or {}).get('max_per_image', 100)
    cfg = model.test_cfg.rcnn if hasattr(model, 'roi_head') else model.test_cfg or {}
    return cfg.get('filter_thr', cfg.get('score_thr', 0)), cfg.get('max_per_img', getattr(model, 'num_queries', 0))


@torch.no_grad()
def instances(outputs: Sequence[torch.Tensor], factor: Sequence[float], shape: Sequence[int],
              threshold: float) -> Detections:
    """The first image's detections, in its own pixels, from a `DetectorGraph`'s outputs.

    Args:
        outputs: boxes, scores, labels and perhaps masks, filled up with instances of label -1.
        factor: by which the image was resized, horizontally and vertically.
        shape: height and width of the original image.
        threshold: mask probability from which a pixel belongs to an instance.
    """
    boxes, scores, labels, *masks = (torch.as_tensor(out)[0] for out in outputs)
    valid = labels >= 0
    boxes = boxes[valid] / boxes.new_tensor([*factor] * 2)
    masks = [(paste(mask[valid].float(), boxes, *shape) >= threshold).numpy() for mask in masks]
    return Detections(boxes.numpy(), scores[valid].numpy(), labels[valid].numpy(), *masks)


def compare(model: nn.Module, run: Callable, reference: Reference, images: Sequence[np.ndarray],
            expected: Sequence[Detections], agreement: Agreement, queries: dict | None = None) -> Agreement:
    """Run an exported detector on images at once and match its detections with mmdet's.

    Args:
        model: mmdet's detector, in eval mode.
        run: the exported detector: a function of arrays, in the order of its inputs, that returns its outputs.
        reference: prepares images for the exported shape.
        images: as `reference` takes them, of any sizes.
        expected: what `reference` finds in them.
        agreement: what they are added to, and returned.
        queries: the rule by which results are made of a `QueryGraph`'s outputs. Default: it is none.
    """
    prepared = [reference.prepare(image) for image in images]
    inputs = torch.cat([inputs for inputs, _ in prepared])
    outputs = run(inputs.numpy(), np.array([sample.img_shape for _, sample in prepared], np.int64))
    for i, ((_, sample), wanted) in enumerate(zip(prepared, expected)):
        if queries:
            found = results_of_queries(outputs[0][i], outputs[1][i], queries, inputs.shape[2:], sample.img_shape[:2],
                                       sample.ori_shape)
        else:
            found = instances([out[i:i + 1] for out in outputs], sample.scale_factor, sample.ori_shape,
                              mask_threshold(model))
        agreement.add(wanted, found, *limits(model))
    return agreement
