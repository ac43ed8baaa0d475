# SegFormer's all-MLP head on MambaVision-T, for ADE20K's 150 classes.
_base_ = './segmentor_mambavision.py'

model = dict(
    decode_head=dict(type='SegformerHead', channels=256),
    auxiliary_head=None)
