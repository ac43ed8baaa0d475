# UperNet, MambaVision-T with fitted windows, Cityscapes, 512 x 1024, 80k iterations of 8 images (4 GPUs x 2).
_base_ = [
    './_base_/models/upernet_mambavision.py',
    './_base_/datasets/cityscapes.py',
    './_base_/schedules/schedule_80k.py',
    './_base_/mmseg_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(512, 1024)),
    backbone=dict(window_padding='fit'),
    decode_head=dict(num_classes=19),
    auxiliary_head=dict(num_classes=19))

auto_scale_lr = dict(base_batch_size=8)
