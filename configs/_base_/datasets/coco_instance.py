# COCO 2017 boxes and masks. data_root is the folder that holds
#     annotations/instances_{train,val}2017.json
#     train2017/*.jpg
#     val2017/*.jpg
# Move it with the environment variable COCO_ROOT or with --cfg-options data_root=...
_base_ = './coco_format.py'

data_root = '{{$COCO_ROOT:data/coco}}'
backend_args = None

# (short side, longest long side)
train_scales = [(side, 1333) for side in range(480, 801, 32)]

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=backend_args),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomFlip', prob=0.5),
    # DETR's augmentation: resize the whole image, or a crop of it.
    dict(
        type='RandomChoice',
        transforms=[
            [dict(type='RandomChoiceResize', scales=train_scales, keep_ratio=True)],
            [
                dict(type='RandomChoiceResize', scales=[(400, 1333), (500, 1333), (600, 1333)], keep_ratio=True),
                dict(type='RandomCrop', crop_type='absolute_range', crop_size=(384, 600), allow_negative_crop=True),
                dict(type='RandomChoiceResize', scales=train_scales, keep_ratio=True),
            ],
        ]),
    dict(type='PackDetInputs')
]
test_pipeline = _base_.test_pipeline
test_pipeline[0] = dict(type='LoadImageFromFile', backend_args=backend_args)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[0] = dict(type='LoadImageFromFile', backend_args=backend_args)

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    batch_sampler=dict(type='AspectRatioBatchSampler'),
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=train_pipeline,
        backend_args=backend_args))
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_val2017.json',
        data_prefix=dict(img='val2017/'),
        pipeline=test_pipeline,
        backend_args=backend_args))
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=data_root + '/annotations/instances_val2017.json', backend_args=backend_args)
test_evaluator = val_evaluator
