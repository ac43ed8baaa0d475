# Cascade Mask R-CNN, MambaVision-S, COCO, 3x.
# Aims at the published result: box AP 52.3, mask AP 45.2.
# Published drop path: 0.3 nominal, 0.2 in effect.
_base_ = './cascade_mask_rcnn_mambavision_t_coco.py'

model = dict(
    backbone=dict(
        arch='small',
        init_cfg=dict(
            checkpoint='https://huggingface.co/nvidia/MambaVision-S-1K/resolve/main/mambavision_small_1k.pth.tar')),
    neck=dict(in_channels=[96, 192, 384, 768]))
