# Mask R-CNN, MambaVision-T, COCO, 3x, at many scales and from crops.
_base_ = [
    './_base_/models/mask_rcnn_mambavision.py',
    './_base_/datasets/coco_instance.py',
    './_base_/schedules/schedule_3x.py',
    './_base_/mmdet_runtime.py',
]
