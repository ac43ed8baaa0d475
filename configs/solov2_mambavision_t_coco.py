# SOLOv2, MambaVision-T, COCO, 1x.
_base_ = [
    'mmdet::solov2/solov2_r50_fpn_1x_coco.py',
    './_base_/models/mambavision_t.py',
    './_base_/schedules/adamw_1x.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('mambavision_t')),
    neck=dict(in_channels=[80, 160, 320, 640]))

optim_wrapper = dict(_delete_=True, **_base_.pop('adamw'), clip_grad=dict(max_norm=35, norm_type=2))
param_scheduler = _base_.pop('steps_1x')

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='coco/segm_mAP'))
custom_imports = dict(imports=['mmvision_mamba'], allow_failed_imports=False)

data_root = '{{$COCO_ROOT:data/coco}}/'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
