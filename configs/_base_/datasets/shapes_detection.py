# Shapes, generated: boxes and masks. data_root is the folder that `mmvision-mamba make-shapes data/shapes` makes:
#     annotations/instances_{train,val}.json
#     {train,val}/*.png
# Move it with the environment variable SHAPES_ROOT or with --cfg-options data_root=...
_base_ = './coco_format.py'

data_root = '{{$SHAPES_ROOT:data/shapes}}'
metainfo = dict(
    classes=('ellipse', 'rectangle', 'triangle'),
    palette=[(230, 60, 60), (60, 180, 75), (60, 120, 230)])

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(type='Resize', scale=(128, 128), keep_ratio=True)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale=scale, keep_ratio=True) for scale in ((112, 112), (128, 128), (144, 144))
]

# Reading a small image takes a millisecond or two: workers would only compete with the training for the cores.
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_train.json',
        data_prefix=dict(img='train/'),
        metainfo=metainfo,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        data_root=data_root,
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        metainfo=metainfo,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = dict(ann_file=data_root + '/annotations/instances_val.json')
test_evaluator = val_evaluator
