# UperNet on MambaVision-T, for ADE20K's 150 classes.
norm_cfg = dict(type='SyncBN')

model = dict(
    type='EncoderDecoder',
    # `size` pads training crops of small images; tests run on the whole image as it is.
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        size=(512, 512),
        pad_val=0,
        seg_pad_val=255),
    backbone=dict(
        type='MambaVision',
        arch='tiny',
        # One window holds the whole map of images up to 1024 pixels a side, padded with zeros as published.
        window_size=(64, 32),
        window_padding='zeros',
        # What the published backbone uses whatever its configs say: it ignores the argument. For the segmentors,
        # trained before that code was published, an inference.
        drop_path_rate=0.2),
    decode_head=dict(
        type='UPerHead',
        in_channels=[80, 160, 320, 640],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=320,
        in_index=2,
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
