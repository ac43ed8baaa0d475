# MambaVision-L2, ImageNet-1K at 512 x 512, windows 32 and 16.
# Aims at the published result of the weights pretrained on ImageNet-21K: top-1 87.3, images squashed to a square.
# Their training recipe is not published; this file trains with large2's of 224 pixels.
_base_ = [
    './_base_/models/mambavision_classifier.py',
    './_base_/datasets/imagenet_512x512.py',
    './_base_/schedules/schedule_in1k.py',
    './_base_/classification_runtime.py',
]

model = dict(backbone=dict(arch='large2', window_size=(32, 16)))

optim_wrapper = dict(optimizer=dict(weight_decay=0.12))
