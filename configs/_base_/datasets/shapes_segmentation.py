# Shapes, generated: semantic maps. data_root is the folder that `mmvision-mamba make-shapes data/shapes` makes:
#     {train,val}/*.png
#     semantic/{train,val}/*.png
# Move it with the environment variable SHAPES_ROOT or with --cfg-options data_root=...
_base_ = './segmentation.py'

dataset_type = 'BaseSegDataset'
data_root = '{{$SHAPES_ROOT:data/shapes}}'
metainfo = dict(
    classes=('background', 'ellipse', 'rectangle', 'triangle'),
    palette=[[0, 0, 0], [230, 60, 60], [60, 180, 75], [60, 120, 230]])

train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='Resize', scale=(128, 128), keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackSegInputs')
]
test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(type='Resize', scale=(128, 128), keep_ratio=True)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(type='Resize', scale_factor=ratio, keep_ratio=True) for ratio in (0.875, 1.0, 1.125)
]

# Reading a small image takes a millisecond or two: workers would only compete with the training for the cores.
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='train', seg_map_path='semantic/train'),
        img_suffix='.png',
        metainfo=metainfo,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='val', seg_map_path='semantic/val'),
        img_suffix='.png',
        metainfo=metainfo,
        pipeline=test_pipeline))
test_dataloader = val_dataloader
