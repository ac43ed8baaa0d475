# UperNet, MambaVision-T, on your own data: a folder of images and masks. Give its path in the environment variable
# CUSTOM_ROOT or as --cfg-options data_root=...; docs/custom_dataset.md tells the rest.
_base_ = './upernet_mambavision_t_fit_ade20k.py'

data_root = '{{$CUSTOM_ROOT:data/custom}}'
# Found when a tool starts: the folders, the classes and their pixel values. train and val choose lists of names.
custom_data = dict(format='image_mask', train=None, val=None)

dataset_type = 'mmvision_mamba.datasets.image_mask.ImageMaskDataset'
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='RandomResize', scale=(2048, 512), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(512, 512), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2048, 512), keep_ratio=True),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs')
]
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in (0.75, 1.0, 1.25)],
            [dict(type='RandomFlip', prob=0.), dict(type='RandomFlip', prob=1.)],
            [dict(type='LoadAnnotations')],
            [dict(type='PackSegInputs')],
        ])
]
train_dataloader = dict(batch_size=4, dataset=dict(type=dataset_type, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(type=dataset_type, pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(max_iters=20000, val_interval=1000)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=500),
    dict(type='PolyLR', power=1.0, eta_min=0., by_epoch=False, begin=500, end=20000)
]
default_hooks = dict(checkpoint=dict(interval=1000))
# 5e-5 is for 16 images: it is scaled to your batch.
auto_scale_lr = dict(enable=True)
