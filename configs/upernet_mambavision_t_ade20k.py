# UperNet, MambaVision-T, ADE20K, 512 x 512, 160k iterations of 16 GPUs x 1 image.
# Aims at the published result: mIoU 46.0, single scale.
# Published drop path: 0.3 nominal, 0.2 in effect.
_base_ = [
    './_base_/models/upernet_mambavision.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/schedule_160k.py',
    './_base_/mmseg_runtime.py',
]

train_dataloader = dict(batch_size=1)
# The published config files' intervals.
train_cfg = dict(val_interval=10000)
default_hooks = dict(checkpoint=dict(interval=10000))
