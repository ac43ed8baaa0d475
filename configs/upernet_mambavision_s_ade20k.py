# UperNet, MambaVision-S, ADE20K, 512 x 512, 160k iterations of 8 GPUs x 2 images.
# Aims at the published result: mIoU 48.2, most likely multi-scale and flipped (--tta); its single-scale validations end
# near 47.8.
# Published drop path: 0.7 nominal, 0.2 in effect.
_base_ = './upernet_mambavision_t_ade20k.py'

model = dict(
    backbone=dict(
        arch='small',
        window_size=(160, 56),
        init_cfg=dict(
            checkpoint='https://huggingface.co/nvidia/MambaVision-S-1K/resolve/main/mambavision_small_1k.pth.tar')),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384))

train_dataloader = dict(batch_size=2)
optim_wrapper = dict(optimizer=dict(lr=6e-5))
