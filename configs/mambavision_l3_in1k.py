# MambaVision-L3, ImageNet-1K at 256 x 256.
# Aims at the published result of the weights pretrained on ImageNet-21K: top-1 87.3. No recipe of theirs is published;
# training with this file is large2's recipe with large3's drop path.
_base_ = './mambavision_l2_in1k.py'

model = dict(backbone=dict(arch='large3'))

load = dict(type='LoadImageFromFile', imdecode_backend='pillow')
train_pipeline = [
    load,
    dict(
        type='PackImage',
        input_size=256,
        is_training=True,
        interpolation='random',
        auto_augment='rand-m9-mstd0.5-inc1',
        re_prob=0.25,
        re_mode='pixel')
]
test_pipeline = [load, dict(type='PackImage', input_size=256, crop_pct=1.0)]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
