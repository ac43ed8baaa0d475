auto_scale_lr = dict(base_batch_size=16, enable=True)
crop_size = (
    64,
    64,
)
custom_hooks = [
    dict(type='DivergenceHook'),
    dict(type='PreemptionHook'),
    dict(strict=False, type='CheckpointFitHook'),
    dict(type='mmvision_mamba.engine.bad_images.EvaluateLoadedImages'),
]
custom_imports = dict(
    allow_failed_imports=False, imports=[
        'mmvision_mamba',
    ])
data_root = 'data/mine'
dataset_type = 'mmvision_mamba.datasets.image_mask.ImageMaskDataset'
default_hooks = dict(
    checkpoint=dict(
        by_epoch=False,
        interval=2,
        max_keep_ckpts=2,
        save_best='mIoU',
        type='CheckpointHook'),
    logger=dict(interval=1, log_metric_by_epoch=False, type='LoggerHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    timer=dict(type='IterTimerHook'),
    visualization=dict(type='SegVisualizationHook'))
default_scope = 'mmseg'
env_cfg = dict(
    cudnn_benchmark=True,
    dist_cfg=dict(backend='nccl'),
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
head = dict(
    align_corners=False,
    dropout_ratio=0.1,
    norm_cfg=dict(type='SyncBN'),
    num_classes=150)
launcher = 'none'
load_from = None
log_level = 'INFO'
log_processor = dict(by_epoch=False, type='LogProcessor')
model = dict(
    auxiliary_head=dict(
        align_corners=False,
        channels=4,
        concat_input=False,
        dropout_ratio=0.1,
        in_channels=32,
        in_index=2,
        loss_decode=dict(
            loss_weight=0.4, type='CrossEntropyLoss', use_sigmoid=False),
        norm_cfg=dict(type='SyncBN'),
        num_classes=3,
        num_convs=1,
        type='FCNHead'),
    backbone=dict(
        depths=(
            1,
            1,
            2,
            2,
        ),
        dim=8,
        in_dim=4,
        mlp_ratio=2,
        num_heads=(
            1,
            1,
            1,
            2,
        ),
        type='MM_mamba_vision',
        window_size=(
            8,
            8,
            4,
            2,
        )),
    data_preprocessor=dict(
        bgr_to_rgb=True,
        mean=[
            123.675,
            116.28,
            103.53,
        ],
        pad_val=0,
        seg_pad_val=255,
        size=(
            64,
            64,
        ),
        std=[
            58.395,
            57.12,
            57.375,
        ],
        type='SegDataPreProcessor'),
    decode_head=dict(
        align_corners=False,
        channels=8,
        dropout_ratio=0.1,
        in_channels=[
            8,
            16,
            32,
            64,
        ],
        in_index=[
            0,
            1,
            2,
            3,
        ],
        loss_decode=dict(
            loss_weight=1.0, type='CrossEntropyLoss', use_sigmoid=False),
        norm_cfg=dict(type='SyncBN'),
        num_classes=3,
        pool_scales=(
            1,
            2,
        ),
        type='UPerHead'),
    test_cfg=dict(mode='whole'),
    train_cfg=dict(),
    type='EncoderDecoder')
norm_cfg = dict(type='SyncBN')
optim_wrapper = dict(
    optimizer=dict(
        betas=(
            0.9,
            0.999,
        ), lr=5e-05, type='AdamW', weight_decay=0.01),
    paramwise_cfg=dict(custom_keys=dict(norm=dict(decay_mult=0.0))),
    type='OptimWrapper')
param_scheduler = [
    dict(
        begin=0, by_epoch=False, end=500, start_factor=1e-06, type='LinearLR'),
    dict(
        begin=500,
        by_epoch=False,
        end=20000,
        eta_min=0.0,
        power=1.0,
        type='PolyLR'),
]
pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(keep_ratio=False, scale=(
        64,
        64,
    ), type='Resize'),
    dict(type='PackSegInputs'),
]
resume = False
test_cfg = dict(type='TestLoop')
test_dataloader = dict(
    batch_size=1,
    dataset=dict(
        data_prefix=dict(img_path='images/val', seg_map_path='masks/val'),
        data_root='data/mine',
        ignored=(),
        metainfo=dict(classes=(
            'class_0',
            'class_1',
            'class_2',
        )),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(keep_ratio=True, scale=(
                2048,
                512,
            ), type='Resize'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        type='mmvision_mamba.datasets.image_mask.ImageMaskDataset',
        values=(
            0,
            1,
            2,
        )),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'))
test_evaluator = dict(
    iou_metrics=[
        'mIoU',
    ], type='IoUMetric')
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(keep_ratio=True, scale=(
        2048,
        512,
    ), type='Resize'),
    dict(type='LoadAnnotations'),
    dict(type='PackSegInputs'),
]
train_cfg = dict(max_iters=2, type='IterBasedTrainLoop', val_interval=2)
train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        data_prefix=dict(img_path='images/train', seg_map_path='masks/train'),
        data_root='data/mine',
        dataset_type='mmvision_mamba.datasets.image_mask.ImageMaskDataset',
        ignored=(),
        left_out=[
            'data/mine/images/train/broken.png',
        ],
        metainfo=dict(classes=(
            'class_0',
            'class_1',
            'class_2',
        )),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations'),
            dict(keep_ratio=False, scale=(
                64,
                64,
            ), type='Resize'),
            dict(type='PackSegInputs'),
        ],
        type='mmvision_mamba.engine.bad_images.dataset_without_images',
        values=(
            0,
            1,
            2,
        )),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=True, type='InfiniteSampler'))
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(
        keep_ratio=True,
        ratio_range=(
            0.5,
            2.0,
        ),
        scale=(
            2048,
            512,
        ),
        type='RandomResize'),
    dict(cat_max_ratio=0.75, crop_size=(
        512,
        512,
    ), type='RandomCrop'),
    dict(prob=0.5, type='RandomFlip'),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(
        transforms=[
            [
                dict(keep_ratio=True, scale_factor=0.75, type='Resize'),
                dict(keep_ratio=True, scale_factor=1.0, type='Resize'),
                dict(keep_ratio=True, scale_factor=1.25, type='Resize'),
            ],
            [
                dict(prob=0.0, type='RandomFlip'),
                dict(prob=1.0, type='RandomFlip'),
            ],
            [
                dict(type='LoadAnnotations'),
            ],
            [
                dict(type='PackSegInputs'),
            ],
        ],
        type='TestTimeAug'),
]
val_cfg = dict(type='ValLoop')
val_dataloader = dict(
    batch_size=1,
    dataset=dict(
        data_prefix=dict(img_path='images/val', seg_map_path='masks/val'),
        data_root='data/mine',
        dataset_type='mmvision_mamba.datasets.image_mask.ImageMaskDataset',
        ignored=(),
        left_out=[
            'data/mine/images/val/broken.png',
        ],
        metainfo=dict(classes=(
            'class_0',
            'class_1',
            'class_2',
        )),
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(keep_ratio=True, scale=(
                2048,
                512,
            ), type='Resize'),
            dict(type='LoadAnnotations'),
            dict(type='PackSegInputs'),
        ],
        type='mmvision_mamba.engine.bad_images.dataset_without_images',
        values=(
            0,
            1,
            2,
        )),
    num_workers=0,
    persistent_workers=False,
    sampler=dict(shuffle=False, type='DefaultSampler'))
val_evaluator = dict(
    iou_metrics=[
        'mIoU',
    ], type='IoUMetric')
visualizer = dict(
    name='visualizer',
    type='SegLocalVisualizer',
    vis_backends=[
        dict(type='LocalVisBackend'),
        dict(type='TensorboardVisBackend'),
    ])
work_dir = 'work'
