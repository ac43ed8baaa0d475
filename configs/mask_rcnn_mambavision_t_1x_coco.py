# Mask R-CNN, MambaVision-T, COCO, 1x.
_base_ = [
    './_base_/models/mask_rcnn_mambavision.py',
    './_base_/datasets/coco_instance_1x.py',
    './_base_/schedules/schedule_1x.py',
    './_base_/mmdet_runtime.py',
]
