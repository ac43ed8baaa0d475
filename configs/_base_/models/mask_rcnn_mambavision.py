# mmdet's Mask R-CNN on MambaVision-T, for COCO's 80 classes.
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py', './mambavision_t.py']

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('mambavision_t')),
    neck=dict(in_channels=[80, 160, 320, 640]))
