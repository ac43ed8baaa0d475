# SegFormer's all-MLP head on MambaVision-T, for ADE20K's 150 classes.
_base_ = './segmentor_mambavision.py'

model = dict(
    decode_head=dict(
        type='SegformerHead', in_channels=[80, 160, 320, 640], in_index=[0, 1, 2, 3], channels=256),
    auxiliary_head=None)
