# MambaVision-L2, ImageNet-1K at 512 x 512, windows 32 and 16.
# Aims at the published result of the weights pretrained on ImageNet-21K: top-1 87.3, images squashed to a square. No
# recipe of theirs is published; training with this file is that of 224 pixels.
_base_ = './mambavision_l2_in1k.py'

model = dict(backbone=dict(window_size=(32, 16)))

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
