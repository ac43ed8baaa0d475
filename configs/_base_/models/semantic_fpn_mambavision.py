# Semantic FPN on MambaVision-T, for ADE20K's 150 classes.
_base_ = './segmentor_mambavision.py'

model = dict(
    neck=dict(type='FPN', in_channels=[80, 160, 320, 640], out_channels=256, num_outs=4),
    decode_head=dict(
        type='FPNHead',
        in_channels=[256, 256, 256, 256],
        feature_strides=[4, 8, 16, 32],
        channels=128),
    auxiliary_head=None)
