# Cascade R-CNN (boxes alone), MambaVision-T, COCO, 1x.
_base_ = [
    'mmdet::_base_/models/cascade-rcnn_r50_fpn.py',
    './_base_/models/mambavision_t.py',
    './_base_/datasets/coco_detection.py',
    './_base_/schedules/schedule_1x.py',
    './_base_/mmdet_runtime.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('mambavision_t')),
    neck=dict(in_channels=[80, 160, 320, 640]))
