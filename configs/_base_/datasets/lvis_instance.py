# LVIS v1 boxes and masks, 1,203 classes, on COCO's images; images of rare classes are repeated. data_root is the folder
# that holds
#     annotations/lvis_v1_{train,val}.json
#     {train,val}2017/*.jpg
# It needs the package lvis: pip install --no-deps lvis.
# Move it with the environment variable LVIS_ROOT or with --cfg-options data_root=...
_base_ = './coco_instance_1x.py'

dataset_type = 'LVISV1Dataset'
data_root = '{{$LVIS_ROOT:data/lvis_v1}}'

train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(
    type='RandomChoiceResize', scales=[(side, 1333) for side in range(640, 801, 32)], keep_ratio=True)

# The annotations' file names include the images' folder.
data_prefix = dict(img='')
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ClassBalancedDataset',
        oversample_thr=1e-3,
        dataset=dict(
            type=dataset_type,
            data_root=data_root,
            ann_file='annotations/lvis_v1_train.json',
            data_prefix=data_prefix,
            filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=train_pipeline)))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type, data_root=data_root, ann_file='annotations/lvis_v1_val.json', data_prefix=data_prefix))
test_dataloader = val_dataloader

val_evaluator = dict(
    type='mmvision_mamba.evaluation.lvis_metric.LVISMetric', ann_file=data_root + '/annotations/lvis_v1_val.json')
test_evaluator = val_evaluator
