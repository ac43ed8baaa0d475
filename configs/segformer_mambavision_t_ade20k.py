# SegFormer's head, MambaVision-T, ADE20K, 512 x 512, 160k iterations of 8 GPUs x 2 images.
_base_ = [
    './_base_/models/segformer_mambavision.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/schedule_160k.py',
    './_base_/mmseg_runtime.py',
]

# As mmseg trains SegFormer: ten times the learning rate for the head.
optim_wrapper = dict(optimizer=dict(lr=6e-5), paramwise_cfg=dict(custom_keys={'head': dict(lr_mult=10.)}))
