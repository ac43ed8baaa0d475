# Mask2Former for panoptic segmentation, MambaVision-T, COCO, 50 epochs of 16 images with large-scale jitter. Besides
# what the other COCO configs read: annotations/panoptic_{train,val}2017.json and the folders of PNGs of the same names.
_base_ = 'mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco-panoptic.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='MambaVision',
        arch='tiny',
        window_size=(112, 56),
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/nvidia/MambaVision-T-1K/resolve/main/mambavision_tiny_1k.pth.tar')),
    panoptic_head=dict(in_channels=[80, 160, 320, 640]))

# What mmdet does on Swin: a tenth of the learning rate for the backbone, whose norms are not decayed either (a custom
# key that matches has precedence over norm_decay_mult).
spared = dict(lr_mult=0.1, decay_mult=0.)
optim_wrapper = dict(paramwise_cfg=dict(custom_keys={
    'backbone': dict(lr_mult=0.1, decay_mult=1.),
    'backbone.outnorm': spared,
    'backbone.patch_embed.conv_down.1': spared,
    'backbone.patch_embed.conv_down.4': spared,
    **{f'blocks.{j}.norm': spared for j in range(20)},  # the deepest stage of the family has 20
}))

default_hooks = dict(checkpoint=dict(max_keep_ckpts=2, save_best='coco_panoptic/PQ', rule='greater'))
custom_imports = dict(imports=['mmvision_mamba'], allow_failed_imports=False)

data_root = '{{$COCO_ROOT:data/coco}}/'
train_dataloader = dict(dataset=dict(data_root=data_root))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = [
    dict(
        type='CocoPanopticMetric',
        ann_file=data_root + 'annotations/panoptic_val2017.json',
        seg_prefix=data_root + 'annotations/panoptic_val2017/'),
    dict(type='CocoMetric', ann_file=data_root + 'annotations/instances_val2017.json', metric=['bbox', 'segm'])
]
test_evaluator = val_evaluator
