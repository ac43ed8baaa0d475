# RTMDet (the large one's neck and head), MambaVision-T, COCO, 100 epochs of 128 images. Schedule, learning rate,
# GroupNorm and input as in mmdet's RTMDet on Swin-B, but 16 groups in the neck, whose 80 channels 32 don't divide.
_base_ = ['mmdet::rtmdet/rtmdet_l_swin_b_4xb32-100e_coco.py', './_base_/models/mambavision_t.py']

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('mambavision_t'), out_indices=(1, 2, 3)),
    neck=dict(in_channels=[160, 320, 640], norm_cfg=dict(num_groups=16)))

auto_scale_lr = dict(base_batch_size=128)

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='coco/bbox_mAP'))
custom_imports = dict(imports=['mmvision_mamba'], allow_failed_imports=False)

data_root = '{{$COCO_ROOT:data/coco}}/'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
