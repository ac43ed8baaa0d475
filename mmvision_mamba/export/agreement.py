"""Compares an exported detector with mmdet's own `predict`: detections are matched by class and overlap."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torchvision.ops import box_iou

from ..runtime.standalone import Detections
from .detector import mask_threshold
from .preprocess import Preprocess, paste
from .verify import Row

SCORES = dict(float32=1e-3, float16=1e-2)  # largest difference of matched scores
OVERLAP = dict(float32=0.99, float16=0.9)  # smallest IoU of matched boxes, and of all masks together


@dataclass
class Agreement:
    """Matched detections of two detectors, summed up over images.

    Args:
        tolerance: of scores; a detection this close to the score at which lists end may be missing on either side.

    Attributes:
        images: number of images compared.
        detections: number of detections of the reference.
        unmatched: detections of one side without a counterpart of the same class with an IoU of 0.5 or more.
        score: largest difference between matched scores.
        box_iou: smallest IoU of matched boxes.
        mask_pixels: pixels in both masks and in either, over all matched pairs.
    """
    tolerance: float = SCORES['float32']
    images: int = 0
    detections: int = 0
    unmatched: int = 0
    score: float = 0.
    box_iou: float = 1.
    mask_pixels: tuple[int, int] = 0, 0

    @property
    def mask_iou(self) -> float:
        both, either = self.mask_pixels
        return both / either if either else 1.

    def rows(self, about: str, masks: bool, precision: str) -> list[Row]:
        """Rows of the table of checks; `about` names the images, and `masks` adds a row for these."""
        images = f'{about}: {self.detections} found'
        rows = [Row('unmatched', images, self.unmatched, 0, True),
                Row('scores', images, self.score, SCORES[precision], True),
                Row('boxes, IoU', images, self.box_iou, OVERLAP[precision], False)]
        return rows + ([Row('masks, IoU', images, self.mask_iou, OVERLAP[precision], False)] if masks else [])

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
            self.score = max(self.score, float(abs(reference.scores[i] - found.scores[best])))
            self.box_iou = min(self.box_iou, float(overlap[i, best]))
            if reference.masks is not None:
                a, b = reference.masks[i], found.masks[best]
                self.mask_pixels = self.mask_pixels[0] + int((a & b).sum()), self.mask_pixels[1] + int((a | b).sum())
        for side, i in missing + [(found, j) for j in unmatched]:
            lowest = max(score_thr, float(side.scores[-1]) if len(side.scores) == max_per_img else 0)
            self.unmatched += float(side.scores[i]) > lowest + self.tolerance


@torch.no_grad()
def reference(model: nn.Module, preprocess: Preprocess, image: np.ndarray) -> Detections:
    """The PyTorch model's detections in an RGB image ``(h, w, 3)`` uint8, in pixels of that image."""
    from mmdet.structures import DetDataSample

    x, size = preprocess(torch.from_numpy(image))
    size, original = tuple(size[0].tolist()), image.shape[:2]
    sample = DetDataSample(metainfo=dict(
        img_shape=size, ori_shape=original, scale_factor=(size[1] / original[1], size[0] / original[0]),
        batch_input_shape=tuple(x.shape[2:]), pad_shape=tuple(x.shape[2:])))
    predicted = model.predict(x, [sample], rescale=True)[0].pred_instances
    return Detections(*(predicted[key].numpy() for key in ('bboxes', 'scores', 'labels')),
                      predicted.masks.numpy() if 'masks' in predicted else None)


@torch.no_grad()
def instances(outputs: Sequence[torch.Tensor], size: Sequence[int], shape: Sequence[int],
              threshold: float) -> Detections:
    """The first image's detections, in its own pixels, from a `DetectorGraph`'s outputs.

    Args:
        outputs: boxes, scores, labels and perhaps masks, filled up with instances of label -1.
        size: height and width of the image in the model's input.
        shape: height and width of the original image.
        threshold: mask probability from which a pixel belongs to an instance.
    """
    boxes, scores, labels, *masks = (torch.as_tensor(out)[0] for out in outputs)
    valid = labels >= 0
    boxes = boxes[valid] / boxes.new_tensor([size[1] / shape[1], size[0] / shape[0]] * 2)
    masks = [(paste(mask[valid].float(), boxes, *shape) >= threshold).numpy() for mask in masks]
    return Detections(boxes.numpy(), scores[valid].numpy(), labels[valid].numpy(), *masks)


def compare(model: nn.Module, run: Callable, preprocess: Preprocess, images: Sequence[np.ndarray],
            expected: Sequence[Detections] | None = None, batch: int = 1, whole: bool = False,
            precision: str = 'float32') -> Agreement:
    """Run a detector and its exported form on images and match their detections.

    Args:
        model: mmdet's detector, in eval mode.
        run: the exported detector: a function of arrays, in the order of its inputs, that returns its outputs.
        preprocess: prepares an image for the exported shape.
        images: RGB ``(h, w, 3)`` uint8, of any sizes.
        expected: the results of `reference` for them. Default: computed here.
        batch: images per call of `run`; the first ones fill up the last batch. Default: 1.
        whole: `run` takes the images themselves, one per call, and prepares them. Default: False.
        precision: a key of `SCORES`.
    """
    cfg = model.test_cfg.rcnn if hasattr(model, 'roi_head') else model.test_cfg
    agreement = Agreement(SCORES[precision])
    if expected is None:
        expected = [reference(model, preprocess, image) for image in images]
    for start in range(0, len(images), batch):
        filled = [images[i % len(images)] for i in range(start, start + batch)]
        if whole:
            results = [Detections(*run(filled[0]))]
        else:
            inputs, sizes = map(torch.cat, zip(*(preprocess(torch.from_numpy(image)) for image in filled)))
            outputs = run(inputs.numpy(), sizes.numpy())
            results = [instances([out[i:i + 1] for out in outputs], size, image.shape[:2], mask_threshold(model))
                       for i, (size, image) in enumerate(zip(sizes.tolist(), filled))]
        for detections, result in zip(expected[start:start + batch], results):
            agreement.add(detections, result, cfg.get('score_thr', 0), cfg.max_per_img)
    return agreement
