# PSPNet on MambaVision-T, for ADE20K's 150 classes: pyramid pooling over stage 4, at stride 32 (mmseg's "d32").
_base_ = './segmentor_mambavision.py'

model = dict(
    backbone=dict(out_indices=(2, 3)),
    decode_head=dict(type='PSPHead', in_channels=640, in_index=1, pool_scales=(1, 2, 3, 6)),
    auxiliary_head=dict(in_index=0))
