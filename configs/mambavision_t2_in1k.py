# MambaVision-T2, ImageNet-1K at 224 x 224, 320 epochs, 32 GPUs x 128 images.
# Aims at the published result: top-1 82.7.
_base_ = [
    './_base_/models/mambavision_classifier.py',
    './_base_/datasets/imagenet.py',
    './_base_/schedules/schedule_in1k.py',
    './_base_/classification_runtime.py',
]

model = dict(backbone=dict(arch='tiny2'))

test_pipeline = [dict(type='LoadImageFromFile', imdecode_backend='pillow'), dict(type='PackImage', crop_pct=0.98)]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
