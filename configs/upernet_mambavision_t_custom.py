# UperNet, MambaVision-T, on your own data: a folder of images and masks, or outlines. Give its path in the environment
# variable CUSTOM_ROOT or as --cfg-options data_root=...; docs/data.md has the details.
_base_ = './upernet_mambavision_t_fit_ade20k.py'

data_root = '{{$CUSTOM_ROOT:data/custom}}'
# A command finds the folders, classes and their values when it starts; its keys choose, docs/data.md.
custom_data = dict(format=None, train=None, val=None, test=None, colours=dict())

dataset_type = 'mmvision_mamba.datasets.image_mask.ImageMaskDataset'
# Pixel value 0 is a class here, so the pipelines load annotations without reduce_zero_label.
train_pipeline = _base_.train_pipeline
train_pipeline[1] = dict(type='LoadAnnotations')
test_pipeline = _base_.test_pipeline
test_pipeline[2] = dict(type='LoadAnnotations')
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in (0.75, 1.0, 1.25)
]
tta_pipeline[1].transforms[2] = [dict(type='LoadAnnotations')]
# None: found, and kept where you set it.
folders = dict(img_path=None, seg_map_path=None)
train_dataloader = dict(
    batch_size=4, dataset=dict(type=dataset_type, ann_file=None, data_prefix=folders, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type=dataset_type, ann_file=None, data_prefix=folders, pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(max_iters=20000, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=500),
    dict(type='PolyLR', power=1.0, eta_min=0., by_epoch=False, begin=500, end=20000)
]
default_hooks = dict(checkpoint=dict(interval=1000))
# The learning rate, 5e-5 for 16 images, is scaled to your batch size.
auto_scale_lr = dict(enable=True)
