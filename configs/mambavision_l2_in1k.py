# MambaVision-L2, ImageNet-1K at 224 x 224, 320 epochs, 32 GPUs x 128 images.
# Aims at the published result: top-1 85.3.
_base_ = [
    './_base_/models/mambavision_classifier.py',
    './_base_/datasets/imagenet.py',
    './_base_/schedules/schedule_in1k.py',
    './_base_/classification_runtime.py',
]

model = dict(backbone=dict(arch='large2'))

optim_wrapper = dict(optimizer=dict(weight_decay=0.12))
