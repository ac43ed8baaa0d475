# DeepLabV3+ on MambaVision-T, for ADE20K's 150 classes: atrous pooling over stage 4, refined by stage 1. Stage 4 has
# stride 32: a quarter of the rates that the method has at stride 8 (12, 24, 36) see the same part of the image.
_base_ = './segmentor_mambavision.py'

model = dict(
    backbone=dict(out_indices=(0, 2, 3)),
    decode_head=dict(
        type='DepthwiseSeparableASPPHead',
        in_channels=640,
        in_index=2,
        dilations=(1, 3, 6, 9),
        c1_in_channels=80,
        c1_channels=48),
    auxiliary_head=dict(in_index=1))
