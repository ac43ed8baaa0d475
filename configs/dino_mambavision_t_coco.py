# DINO with four scales, MambaVision-T, COCO, 12 epochs of 16 images. All settings but the backbone are mmdet's: AdamW
# with a tenth of the learning rate for the backbone.
_base_ = ['mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py', './_base_/models/mambavision_t.py']

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('mambavision_t'), out_indices=(1, 2, 3)),
    neck=dict(in_channels=[160, 320, 640]))

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='coco/bbox_mAP'))
custom_imports = dict(imports=['mmvision_mamba'], allow_failed_imports=False)

data_root = '{{$COCO_ROOT:data/coco}}/'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
