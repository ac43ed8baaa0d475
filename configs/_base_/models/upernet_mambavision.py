# UperNet on MambaVision-T, for ADE20K's 150 classes.
_base_ = './segmentor_mambavision.py'

model = dict(
    backbone=dict(
        # As published.
        window_padding='zeros',
        # The published backbone always uses 0.2, whatever its configs say: it ignores the argument. That the published
        # segmentors, trained before that code was published, used it too is an inference.
        drop_path_rate=0.2),
    decode_head=dict(type='UPerHead', pool_scales=(1, 2, 3, 6)))
