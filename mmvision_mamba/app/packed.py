"""Predictions as they wait for a visitor's next click: a hundred masks of a large picture are 256 MB as pixels."""
from __future__ import annotations

import numpy as np
import torch
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from pycocotools import mask as coco_mask

from ..inference.results import boxes_of, rle

MAPS = ('pred_sem_seg', 'pred_panoptic_seg')


def pack(sample: BaseDataElement) -> BaseDataElement:
    """What the page shows of a prediction, in a copy: masks as run lengths, maps in as few bytes as their values need.

    What else a model gives, such as logits of 4 bytes for each pixel and class, is left out.
    """
    packed = type(sample)(metainfo=sample.metainfo)
    if 'pred_instances' in sample:
        instances = sample.pred_instances
        others = {key: value for key, value in instances.items() if key not in ('masks', 'bboxes')}
        packed.pred_instances = InstanceData(metainfo=instances.metainfo, bboxes=boxes_of(instances), **others)
        if 'masks' in instances:
            packed.pred_instances.masks = [rle(np.asarray(mask)[None])[0] for mask in instances.masks]
    for name in MAPS:
        if name in sample:
            setattr(packed, name, PixelData(**{key: _narrow(values) for key, values in sample.get(name).items()}))
    return packed


def _narrow(values: torch.Tensor) -> torch.Tensor:
    fits = values.numel() and values.min() >= 0 and values.max() < 256
    return values.to(torch.uint8 if fits else torch.int32)


def with_wide_maps(sample: BaseDataElement) -> BaseDataElement:
    """A copy of a packed prediction with maps of integers that can be computed with."""
    sample = sample.clone()
    for name in MAPS:
        if name in sample:
            setattr(sample, name, PixelData(**{key: values.long() for key, values in sample.get(name).items()}))
    return sample


def with_masks(sample: BaseDataElement, size: tuple[int, int]) -> BaseDataElement:
    """A packed prediction of an image of `size` (H, W), changed in place, with masks `(N, H, W)`, bool."""
    instances = sample.get('pred_instances')
    if instances is not None and 'masks' in instances:
        masks = np.zeros((len(instances), *size), bool)
        for mask, code in zip(masks, instances.masks):
            mask[:] = mask_of(code)
        instances.masks = torch.from_numpy(masks)
    return sample


def mask_of(code: dict) -> np.ndarray:
    """The mask `(H, W)`, bool, of run lengths."""
    return coco_mask.decode(code).astype(bool)


def area_of(code: dict) -> int:
    """The pixels of a mask."""
    return int(coco_mask.area(code))
