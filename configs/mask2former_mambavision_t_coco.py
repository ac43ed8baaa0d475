# Mask2Former for instances, MambaVision-T, COCO, 50 epochs of 16 images with large-scale jitter.
_base_ = [
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py',
    './_base_/models/mambavision_t.py',
    './_base_/schedules/mask2former_norms.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('mambavision_t')),
    panoptic_head=dict(in_channels=[80, 160, 320, 640]))

# As in mmdet's Mask2Former on Swin: a tenth of the learning rate for the backbone, no weight decay for its norms.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={
    'backbone': dict(lr_mult=0.1, decay_mult=1.),
    **_base_.pop('backbone_norms')
}))

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='coco/segm_mAP'))
custom_imports = dict(imports=['mmvision_mamba'], allow_failed_imports=False)

data_root = '{{$COCO_ROOT:data/coco}}/'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
