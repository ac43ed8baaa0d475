# 12 epochs, steps at 8 and 11, else as schedule_3x.py: the optimiser that mmdet's mask-rcnn_swin-t-p4-w7_fpn_1x_coco
# has for a backbone of this kind.
_base_ = './schedule_3x.py'

train_cfg = dict(max_epochs=12)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1)
]
