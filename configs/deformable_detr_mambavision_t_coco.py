# Deformable DETR, MambaVision-T, COCO, 50 epochs of 32 images. All settings but the backbone are mmdet's: AdamW with a
# tenth of the learning rate for the backbone.
_base_ = ['mmdet::deformable_detr/deformable-detr_r50_16xb2-50e_coco.py', './_base_/models/mambavision_t.py']

model = dict(
    backbone=dict(_delete_=True, **_base_.pop('mambavision_t'), out_indices=(1, 2, 3)),
    neck=dict(in_channels=[160, 320, 640]))

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='coco/bbox_mAP'))
custom_imports = dict(imports=['mmvision_mamba'], allow_failed_imports=False)

data_root = '{{$COCO_ROOT:data/coco}}/'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = test_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
