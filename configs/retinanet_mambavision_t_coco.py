# RetinaNet, MambaVision-T, COCO, 1x. Its levels start at stride 8, so stage 1 is not returned.
_base_ = [
    'mmdet::_base_/models/retinanet_r50_fpn.py',
    './_base_/models/mambavision_t.py',
    './_base_/datasets/coco_detection.py',
    './_base_/schedules/schedule_1x.py',
    './_base_/mmdet_runtime.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('mambavision_t'), out_indices=(1, 2, 3)),
    neck=dict(in_channels=[160, 320, 640], start_level=0))
