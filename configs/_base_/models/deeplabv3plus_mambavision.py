# DeepLabV3+ on MambaVision-T, for ADE20K's 150 classes: atrous pooling over stage 4, refined by stage 1. Stage 4 has
# stride 32: a quarter of the rates that the method has at stride 8 (12, 24, 36) see the same part of the image.
norm_cfg = dict(type='SyncBN')

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(512, 512),
        pad_val=0,
        seg_pad_val=255),
    backbone=dict(type='MambaVision', arch='tiny', out_indices=(0, 2, 3), window_size=(64, 32)),
    decode_head=dict(
        type='DepthwiseSeparableASPPHead',
        in_channels=640,
        in_index=2,
        channels=512,
        dilations=(1, 3, 6, 9),
        c1_in_channels=80,
        c1_channels=48,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=320,
        in_index=1,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))

tta_model = dict(type='SegTTAModel')
