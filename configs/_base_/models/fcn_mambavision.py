# FCN on MambaVision-T, for ADE20K's 150 classes: a fully convolutional head on all four stages, resized to stride 4 and
# concatenated, as mmseg does it for HRNet. (A head on stage 4 alone, whose stride of 32 can't be dilated away,
# would see 16 x 16 positions of a 512 x 512 crop.)
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
    backbone=dict(type='MambaVision', arch='tiny', window_size=(64, 32)),
    decode_head=dict(
        type='FCNHead',
        in_channels=[80, 160, 320, 640],
        in_index=[0, 1, 2, 3],
        input_transform='resize_concat',
        channels=512,
        kernel_size=1,
        num_convs=1,
        concat_input=False,
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
