"""Small images and their predictions, enlarged for drawing: labels need pixels to be read."""
import math

import numpy as np
import torch
from mmengine.structures import BaseDataElement, PixelData


def enlargement(image: np.ndarray, side: int) -> int:
    """The least whole factor that makes the longer side of an image ``(H, W, …)`` `side` or more."""
    return max(1, math.ceil(side / max(image.shape[:2])))


def enlarge(image: np.ndarray, sample: BaseDataElement, side: int) -> tuple[np.ndarray, BaseDataElement]:
    """An image ``(H, W, 3)`` and its prediction, by the factor of `enlargement`.

    Both are returned as they are where no factor is needed; else each pixel is repeated.
    """
    factor = enlargement(image, side)
    if factor == 1:
        return image, sample
    return image.repeat(factor, axis=0).repeat(factor, axis=1), _enlarged(sample, factor)


def _enlarged(sample: BaseDataElement, factor: int) -> BaseDataElement:
    def repeated(values: torch.Tensor) -> torch.Tensor:
        return values.repeat_interleave(factor, -1).repeat_interleave(factor, -2)
    sample = sample.clone()
    for name in ('pred_sem_seg', 'pred_panoptic_seg'):
        if name in sample:
            setattr(sample, name, PixelData(**{key: repeated(values) for key, values in sample.get(name).items()}))
    if 'pred_instances' in sample:
        instances = sample.pred_instances.clone()
        if 'bboxes' in instances:
            instances.bboxes = getattr(instances.bboxes, 'tensor', instances.bboxes) * factor
        if 'masks' in instances:
            instances.masks = repeated(torch.as_tensor(instances.masks))
        sample.pred_instances = instances
    return sample
