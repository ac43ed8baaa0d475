# MambaVision-T, Shapes at 64 x 64, one to an image, from scratch, for two CPU cores. No published result.
# The ImageNet classifier, with these changes:
# - backbone: no padding, no drop path
# - no mixup, no label smoothing, no EMA
# - schedule: 300 iterations of 16 images, AdamW, lr 1e-3, cosine (320 epochs of 4,096 images, LAMB, lr 5e-3)
_base_ = [
    './_base_/models/mambavision_classifier.py',
    './_base_/datasets/shapes_objects.py',
    './_base_/classification_runtime.py',
    './_base_/schedules/schedule_shapes.py',
]

model = dict(
    num_classes=3,
    label_smoothing=0.,
    mixup=None,
    backbone=dict(window_padding='fit', drop_path_rate=0.))

optim_wrapper = dict(optimizer=dict(lr=1e-3))
train_cfg = dict(max_iters=300, val_interval=150)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='CosineAnnealingLR', eta_min=0., by_epoch=False, begin=30, end=300)
]

default_hooks = dict(
    logger=dict(interval=10, log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=150))
log_processor = dict(by_epoch=False, window_size=10)
