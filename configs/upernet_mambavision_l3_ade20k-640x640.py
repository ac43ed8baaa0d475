# UperNet, MambaVision-L3, ADE20K, 640 x 640, 160k iterations of 16 GPUs x 1 image, float32.
# Aims at the published result: mIoU 53.2, single scale (best validation of the published log: 53.43).
# Published drop path: 0.8 nominal, 0.2 in effect.
_base_ = [
    './_base_/models/upernet_mambavision.py',
    './_base_/datasets/ade20k_640x640.py',
    './_base_/schedules/schedule_160k.py',
    './_base_/mmseg_runtime.py',
]

model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        arch='large3',
        init_cfg=dict(
            checkpoint='https://huggingface.co/nvidia/MambaVision-L3-512-21K/resolve/main/'
            'mambavision_L3_21k_740m_512.pth.tar')),
    decode_head=dict(in_channels=[256, 512, 1024, 2048]),
    auxiliary_head=dict(in_channels=1024))

train_dataloader = dict(batch_size=1)
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=8e-5, weight_decay=0.05))
# The published config files' intervals.
train_cfg = dict(val_interval=5000)
default_hooks = dict(checkpoint=dict(interval=10000))
