"""Test-time augmentation for instance segmentation: mmdet's own merges boxes only and refuses masks."""
from itertools import chain

import numpy as np
import torch
from mmcv.ops import batched_nms
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from pycocotools import mask as coco_mask
from torch import Tensor

FLIPPED_DIMS = {'horizontal': (-1,), 'vertical': (-2,), 'diagonal': (-2, -1)}


def unflip_mask(mask: Tensor | np.ndarray | dict, meta: dict) -> Tensor:
    """Bring the mask of one instance back to the original image.

    Args:
        mask: A view's prediction, an (H, W) array or COCO's run-length encoding of one. Views of all scales predict
            at the size of the original image; only the flip is left.
        meta: The view's ``flip`` and ``flip_direction``.
    """
    mask = torch.as_tensor(coco_mask.decode(mask).astype(bool) if isinstance(mask, dict) else mask)
    return mask.flip(FLIPPED_DIMS[meta['flip_direction']]) if meta['flip'] else mask


@MODELS.register_module()
class InstanceSegTTAModel(DetTTAModel):
    """Merges the boxes of all views as ``DetTTAModel`` does, by NMS, and keeps the masks of the boxes that survive.

    Predictions without masks are merged too.

    Args:
        module: The detector, or its config.
        tta_cfg: ``nms``, the NMS over all views' boxes, and ``max_per_img``, how many of the best to keep.
    """

    def test_step(self, data: dict) -> list[DetDataSample]:
        # mmdet's cascades would flip masks back inside their boxes, and fail, since torch has no negative steps. So
        # `flip` is hidden from them; merge_preds restores it from the direction.
        for sample in chain.from_iterable(data['data_samples']):
            sample.set_metainfo(dict(flip=False))
        return super().test_step(data)

    def merge_preds(self, data_samples_list: list[list[DetDataSample]]) -> list[DetDataSample]:
        for sample in chain.from_iterable(data_samples_list):
            sample.set_metainfo(dict(flip=sample.flip_direction is not None))
        return super().merge_preds(data_samples_list)

    def _merge_single_sample(self, data_samples: list[DetDataSample]) -> DetDataSample:
        views = [sample.pred_instances for sample in data_samples]
        if 'masks' not in views[0]:
            return super()._merge_single_sample(data_samples)

        metas = [sample.metainfo for sample in data_samples]
        bboxes, scores = self.merge_aug_bboxes([view.bboxes for view in views], [view.scores for view in views], metas)
        if len(bboxes) == 0:
            return data_samples[0]

        labels = torch.cat([view.labels for view in views])
        detections, kept = batched_nms(bboxes, scores, labels, self.tta_cfg.nms)
        detections, kept = detections[:self.tta_cfg.max_per_img], kept[:self.tta_cfg.max_per_img]

        # Flip the survivors' masks only: all views' together may not fit in memory.
        masks = [(mask, meta) for view, meta in zip(views, metas) for mask in view.masks]
        data_samples[0].pred_instances = InstanceData(
            bboxes=detections[:, :4],
            scores=detections[:, 4],
            labels=labels[kept],
            masks=torch.stack([unflip_mask(*masks[i]) for i in kept.tolist()]))
        return data_samples[0]
