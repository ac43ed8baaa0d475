# Cascade Mask R-CNN, MambaVision-B, COCO, 3x.
# Aims at the published result: box AP 52.8, mask AP 45.7.
# Published drop path: 0.5 nominal, 0.2 in effect.
_base_ = './cascade_mask_rcnn_mambavision_t_coco.py'

model = dict(
    backbone=dict(
        arch='base',
        init_cfg=dict(
            checkpoint='https://huggingface.co/nvidia/MambaVision-B-1K/resolve/main/mambavision_base_1k.pth.tar')),
    neck=dict(in_channels=[128, 256, 512, 1024]))

optim_wrapper = dict(optimizer=dict(lr=2e-4))
