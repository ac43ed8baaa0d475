# ImageNet, one folder per class, as the published recipe augments it:
#     {train,val}/n01440764/*.JPEG
# Move it with the environment variable IMAGENET_ROOT or with --cfg-options data_root=...
_base_ = './image_folder.py'

data_root = '{{$IMAGENET_ROOT:data/imagenet}}'

# Pillow, as in timm: decoded images are equal to the last bit.
load = dict(type='LoadImageFromFile', imdecode_backend='pillow')
train_pipeline = [
    load,
    dict(
        type='PackImage',
        is_training=True,
        interpolation='random',
        auto_augment='rand-m9-mstd0.5-inc1',
        re_prob=0.25,
        re_mode='pixel')
]
test_pipeline = [load, dict(type='PackImage', crop_pct=1.0)]

train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    drop_last=True,
    dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    dataset=dict(data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
