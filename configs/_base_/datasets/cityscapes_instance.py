# Cityscapes boxes and masks, 8 classes. data_root is the folder that holds
#     annotations/instancesonly_filtered_gtFine_{train,val}.json
#     leftImg8bit/{train,val}/CITY/*.png
# (mmdet's tools/dataset_converters/cityscapes.py makes the annotations.)
# Move it with the environment variable CITYSCAPES_ROOT or with --cfg-options data_root=...
_base_ = './coco_instance.py'

dataset_type = 'CityscapesDataset'
data_root = '{{$CITYSCAPES_ROOT:data/cityscapes}}'

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='RandomResize', scale=[(2048, 800), (2048, 1024)], keep_ratio=True),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs')
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=(2048, 1024), keep_ratio=True),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))
]
tta_pipeline = None  # COCO's scales; without it --tta flips

train_dataloader = dict(
    batch_size=1,
    # One epoch sees each image eight times.
    dataset=dict(
        _delete_=True,
        type='RepeatDataset',
        times=8,
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            ann_file='annotations/instancesonly_filtered_gtFine_train.json',
            data_prefix=dict(img='leftImg8bit/train/'),
            filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=train_pipeline)))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/instancesonly_filtered_gtFine_val.json',
        data_prefix=dict(img='leftImg8bit/val/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader

# COCO's measure. Cityscapes' own is mmdet's CityScapesMetric, which needs cityscapesscripts.
val_evaluator = dict(ann_file=data_root + '/annotations/instancesonly_filtered_gtFine_val.json')
test_evaluator = val_evaluator
