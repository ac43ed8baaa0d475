# Settings that segmentors on MambaVision-T share, for ADE20K's 150 classes. The files that inherit from this one add a
# decode head, which reads all four stages unless they say otherwise.
_base_ = './mambavision_t.py'

norm_cfg = dict(type='SyncBN')
head = dict(
    dropout_ratio=0.1,
    num_classes=150,
    norm_cfg=norm_cfg,
    align_corners=False)

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
    # One window holds the whole map of images up to 1024 pixels a side.
    backbone=dict(_base_.pop('mambavision_t'), window_size=(64, 32)),
    decode_head=dict(
        **head,
        in_channels=[80, 160, 320, 640],
        in_index=[0, 1, 2, 3],
        channels=512,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0)),
    # It reads stage 3.
    auxiliary_head=dict(
        **head,
        type='FCNHead',
        in_channels=320,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4)),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'))

tta_model = dict(type='SegTTAModel')
del head
