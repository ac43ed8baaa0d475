# ImageNet at 512 x 512, tested as the published weights for that size are: images squashed to a square.
_base_ = './imagenet.py'

load = dict(type='LoadImageFromFile', imdecode_backend='pillow')
train_pipeline = [
    load,
    dict(
        type='PackImage',
        input_size=512,
        is_training=True,
        interpolation='random',
        auto_augment='rand-m9-mstd0.5-inc1',
        re_prob=0.25,
        re_mode='pixel')
]
test_pipeline = [load, dict(type='PackImage', input_size=512, crop_pct=0.93, crop_mode='squash')]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
