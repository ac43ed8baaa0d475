# Faster R-CNN, MambaVision-T, Pascal VOC 2007 + 2012, 12 epochs of 16 images.
_base_ = [
    './_base_/models/faster_rcnn_mambavision.py',
    './_base_/datasets/voc0712.py',
    './_base_/schedules/schedule_1x.py',
    './_base_/mmdet_runtime.py',
]

model = dict(roi_head=dict(bbox_head=dict(num_classes=20)))

# An epoch sees each image three times, so four epochs count as 12; the learning rate drops after the third.
train_cfg = dict(max_epochs=4)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=4, milestones=[3], gamma=0.1)
]

default_hooks = dict(checkpoint=dict(save_best='pascal_voc/mAP'))
