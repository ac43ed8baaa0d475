# MambaVision classifier: backbone, BatchNorm, average pool, linear layer; the published settings of the tiny variant.
# Images of 224 pixels make maps of one window each, 14 and 7, so there is no padding; at other sizes 'zeros' is the
# published behaviour.
model = dict(
    type='ImageClassifier',
    num_classes=1000,
    label_smoothing=0.1,
    mixup=dict(mixup_alpha=0.8, cutmix_alpha=1.0),
    backbone=dict(
        type='MambaVision', arch='tiny', out_indices=(3,), norm_layer=None, window_padding='zeros', init_cfg=None))
