"""How well an exported detector agrees with mmdet's own `predict`: detections matched by overlap."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torchvision.ops import box_iou

from .detector import mask_threshold
from .preprocess import Preprocess, paste
from .runtime import Detections
from .verify import Row

SCORES = dict(float32=1e-3, float16=1e-2)  # largest difference of matched scores
OVERLAP = dict(float32=0.99, float16=0.9)  # least IoU of matched boxes; of all masks of an image together


@dataclass
class Agreement:
    """What was found by comparing.

    Args:
        tolerance: of scores: detections that near the end of the list may miss on either side.

    Attributes:
        images, detections: how many were compared; detections of the reference.
        unmatched: detections of one side without a counterpart of the same class with an IoU of 0.5 or more.
        score: largest difference between matched scores.
        box_iou: least overlap of matched boxes.
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
        """Lines of the table."""
        about = f'{about}: {self.detections} found'
        rows = [Row('unmatched', about, self.unmatched, 0, True),
                Row('scores', about, self.score, SCORES[precision], True),
                Row('boxes, IoU', about, self.box_iou, OVERLAP[precision], False)]
        return rows + ([Row('masks, IoU', about, self.mask_iou, OVERLAP[precision], False)] if masks else [])

    def add(self, reference: Detections, found: Detections, score_thr: float, max_per_img: int) -> None:
        """Count in one image's detections, each side's best first."""
        self.images += 1
        self.detections += len(reference.scores)
        overlap = box_iou(*(torch.as_tensor(side.boxes).double() for side in (reference, found))).numpy()
        overlap = np.where(reference.labels[:, None] == found.labels, overlap, 0)
        left = set(range(len(found.scores)))
        lost = []
        for i in range(len(reference.scores)):
            # Of boxes that coincide, the one with the nearest score.
            best = max(left, default=None, key=lambda j: (round(overlap[i, j], 3), -abs(
                reference.scores[i] - found.scores[j])))
            if best is None or overlap[i, best] < 0.5:
                lost.append((reference, i))
                continue
            left.remove(best)
            self.score = max(self.score, float(abs(reference.scores[i] - found.scores[best])))
            self.box_iou = min(self.box_iou, float(overlap[i, best]))
            if reference.masks is not None:
                a, b = reference.masks[i], found.masks[best]
                self.mask_pixels = self.mask_pixels[0] + int((a & b).sum()), self.mask_pixels[1] + int((a | b).sum())
        for side, i in lost + [(found, j) for j in left]:
            end = max(score_thr, float(side.scores[-1]) if len(side.scores) == max_per_img else 0)
            self.unmatched += float(side.scores[i]) > end + self.tolerance


@torch.no_grad()
def reference(model: nn.Module, preprocess: Preprocess, image: np.ndarray) -> Detections:
    """What the PyTorch model predicts for an RGB image ``(h, w, 3)`` uint8, in the image's own pixels."""
    from mmdet.structures import DetDataSample

    x, size = preprocess(torch.from_numpy(image))
    size, old = tuple(size[0].tolist()), image.shape[:2]
    sample = DetDataSample(metainfo=dict(
        img_shape=size, ori_shape=old, scale_factor=(size[1] / old[1], size[0] / old[0]),
        batch_input_shape=tuple(x.shape[2:]), pad_shape=tuple(x.shape[2:])))
    found = model.predict(x, [sample], rescale=True)[0].pred_instances
    return Detections(*(found[key].numpy() for key in ('bboxes', 'scores', 'labels')),
                      found.masks.numpy() if 'masks' in found else None)


@torch.no_grad()
def instances(outputs: Sequence[torch.Tensor], size: Sequence[int], shape: Sequence[int],
              threshold: float) -> Detections:
    """The first image's detections from a `DetectorGraph`'s outputs.

    Args:
        outputs: boxes, scores, labels and perhaps masks, padded.
        size: height and width of the image in the model's input.
        shape: its own height and width.
        threshold: of the masks.
    """
    boxes, scores, labels, *masks = (torch.as_tensor(out)[0] for out in outputs)
    valid = labels >= 0
    boxes = boxes[valid] / boxes.new_tensor([size[1] / shape[1], size[0] / shape[0]] * 2)
    masks = [(paste(mask[valid].float(), boxes, *shape) >= threshold).numpy() for mask in masks]
    return Detections(boxes.numpy(), scores[valid].numpy(), labels[valid].numpy(), *masks)


def compare(model: nn.Module, run: Callable, preprocess: Preprocess, images: Sequence[np.ndarray],
            expected: Sequence[Detections] | None = None, batch: int = 1, whole: bool = False,
            precision: str = 'float32') -> Agreement:
    """Run both on images.

    Args:
        model: mmdet's detector, in eval mode.
        run: the exported one: a function of arrays, in the order of its inputs, that returns its outputs.
        preprocess: what the exported shape makes of an image.
        images: RGB ``(h, w, 3)`` uint8, of any sizes.
        expected: what `reference` gives for each. Default: computed.
        batch: how many images the exported one takes at once; they are repeated to fill it.
        whole: it takes images as they are, one by one.
        precision: a key of `SCORES`.
    """
    cfg = model.test_cfg.rcnn if hasattr(model, 'roi_head') else model.test_cfg
    agreement = Agreement(SCORES[precision])
    if expected is None:
        expected = [reference(model, preprocess, image) for image in images]
    for start in range(0, len(images), batch):
        some = [images[i % len(images)] for i in range(start, start + batch)]
        if whole:
            found = [Detections(*run(some[0]))]
        else:
            inputs, sizes = map(torch.cat, zip(*(preprocess(torch.from_numpy(image)) for image in some)))
            outputs = run(inputs.numpy(), sizes.numpy())
            found = [instances([out[i:i + 1] for out in outputs], size, image.shape[:2], mask_threshold(model))
                     for i, (size, image) in enumerate(zip(sizes.tolist(), some))]
        for wanted, one in zip(expected[start:start + batch], found):
            agreement.add(wanted, one, cfg.get('score_thr', 0), cfg.max_per_img)
    return agreement
