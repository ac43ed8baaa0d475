# ImageNet, one folder per class, as the published recipe augments it:
#     {train,val}/n01440764/*.JPEG
# Move it with the environment variable IMAGENET_ROOT or with --cfg-options data_root=...
dataset_type = 'ImageFolder'
data_root = '{{$IMAGENET_ROOT:data/imagenet}}'

# Pillow decodes as it does for timm, to the last bit.
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
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type, data_root=data_root, data_prefix=dict(img_path='train'), pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='val'),
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator
