# FCOS, MambaVision-T, COCO, 1x. Its levels start at stride 8, so stage 1 is not returned.
_base_ = [
    'mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py',
    './_base_/models/mambavision_t.py',
    './_base_/schedules/adamw_1x.py',
]

model = dict(
    # MambaVision's weights take RGB of unit variance; the base config normalises for Caffe's.
    data_preprocessor=dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True),
    backbone=dict(_delete_=True, **_base_.pop('mambavision_t'), out_indices=(1, 2, 3)),
    neck=dict(in_channels=[160, 320, 640], start_level=0))

optim_wrapper = dict(_delete_=True, **_base_.pop('adamw'), clip_grad=dict(max_norm=35, norm_type=2))
param_scheduler = _base_.pop('steps_1x')

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='coco/bbox_mAP'))
custom_imports = dict(imports=['mmvision_mamba'], allow_failed_imports=False)

data_root = '{{$COCO_ROOT:data/coco}}/'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
