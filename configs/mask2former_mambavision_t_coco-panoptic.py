# Mask2Former for panoptic segmentation, MambaVision-T, COCO, 50 epochs of 16 images with large-scale jitter. Besides
# what the other COCO configs read: annotations/panoptic_{train,val}2017.json and the folders of PNGs of the same names.
_base_ = [
    'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py',
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

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='coco_panoptic/PQ', rule='greater'))
custom_imports = dict(imports=['mmvision_mamba'], allow_failed_imports=False)

data_root = '{{$COCO_ROOT:data/coco}}/'
train_dataloader = val_dataloader = test_dataloader = dict(dataset=dict(data_root=data_root))
val_evaluator = [
    dict(
        type='CocoPanopticMetric',
        ann_file=data_root + 'annotations/panoptic_val2017.json',
        seg_prefix=data_root + 'annotations/panoptic_val2017/'),
    dict(type='CocoMetric', ann_file=data_root + 'annotations/instances_val2017.json', metric=['bbox', 'segm'])
]
test_evaluator = val_evaluator
