# Mask R-CNN, MambaVision-T, LVIS v1, 1x.
_base_ = [
    './_base_/models/mask_rcnn_mambavision.py',
    './_base_/datasets/lvis_instance.py',
    './_base_/schedules/schedule_1x.py',
    './_base_/mmdet_runtime.py',
]

model = dict(
    roi_head=dict(bbox_head=dict(num_classes=1203), mask_head=dict(num_classes=1203)),
    # LVIS counts 300 detections per image, however low their scores.
    test_cfg=dict(rcnn=dict(score_thr=0.0001, max_per_img=300)))

default_hooks = dict(checkpoint=dict(save_best='lvis/bbox_AP', rule='greater'))
