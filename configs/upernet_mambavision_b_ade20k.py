# UperNet, MambaVision-B, ADE20K, 512 x 512, 160k iterations of 16 GPUs x 1 image.
# Aims at the published result: mIoU 49.1, single scale (best validation of the published log: 49.23).
# Published drop path: 0.4 nominal, 0.2 in effect.
_base_ = './upernet_mambavision_t_ade20k.py'

model = dict(
    backbone=dict(
        arch='base',
        init_cfg=dict(
            checkpoint='https://huggingface.co/nvidia/MambaVision-B-1K/resolve/main/mambavision_base_1k.pth.tar')),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512))
