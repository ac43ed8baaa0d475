"""Detections and objects of random images, as pycocotools and the evaluation room take them."""
import numpy as np
from pycocotools import mask as coco_mask

from mmvision_mamba.evaluation.detection_matches import ImageDetections


def random_images(seed: int, images: int = 12, classes: int = 4, crowds: bool = True, side: int = 200):
    """[(boxes (n, 4) as x, y, w, h, labels, scores, true boxes, true labels, crowd)], most detections near objects."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(images):
        m, n = rng.integers(0, 7), rng.integers(0, 16)
        truth = np.concatenate([rng.uniform(0, side / 2, (m, 2)), rng.uniform(4, side / 1.5, (m, 2))], 1)
        true_labels, crowd = rng.integers(0, classes, m), (rng.random(m) < 0.15) & crowds
        boxes = np.concatenate([rng.uniform(0, side, (n, 2)), rng.uniform(4, side / 2, (n, 2))], 1)
        labels = rng.integers(0, classes, n)
        for i in range(n):
            if m and rng.random() < 0.8:
                j = rng.integers(m)
                boxes[i] = truth[j] + rng.normal(0, 0.12, 4) * truth[j, [2, 3, 2, 3]]
                boxes[i, 2:] = boxes[i, 2:].clip(2)
                labels[i] = true_labels[j] if rng.random() < 0.7 else labels[i]
        scores = rng.choice(np.round(rng.random(n), 2), n) if n else rng.random(0)  # some are equal
        made.append((boxes, labels, scores, truth, true_labels, crowd))
    return made


def as_detections(images) -> list[ImageDetections]:
    found = []
    for boxes, labels, scores, truth, true_labels, crowd in images:
        order = np.argsort(-scores, kind='stable')
        boxes = boxes[order]
        overlaps = np.array(coco_mask.iou(boxes, truth, crowd.astype(np.uint8))).reshape(len(boxes), len(truth))
        found.append(ImageDetections(labels[order], scores[order], boxes[:, 2] * boxes[:, 3], true_labels,
                                     truth[:, 2] * truth[:, 3], crowd, overlaps))
    return found
