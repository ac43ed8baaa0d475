# Cityscapes boxes and masks, 8 classes. data_root is the folder that holds
#     annotations/instancesonly_filtered_gtFine_{train,val}.json
#     leftImg8bit/{train,val}/CITY/*.png
# (mmdet's tools/dataset_converters/cityscapes.py makes the annotations.)
# Move it with the environment variable CITYSCAPES_ROOT or with --cfg-options data_root=...
_base_ = './coco_instance_1x.py'

dataset_type = 'CityscapesDataset'
data_root = '{{$CITYSCAPES_ROOT:data/cityscapes}}'

train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(type='RandomResize', scale=[(2048, 800), (2048, 1024)], keep_ratio=True)
test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(type='Resize', scale=(2048, 1024), keep_ratio=True)
tta_pipeline = None  # the base's scales are COCO's; without a pipeline --tta only flips

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

# COCO's metric. Cityscapes' own is mmdet's CityScapesMetric, which needs cityscapesscripts.
val_evaluator = dict(ann_file=data_root + '/annotations/instancesonly_filtered_gtFine_val.json')
test_evaluator = val_evaluator
