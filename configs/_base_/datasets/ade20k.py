# ADE20K scene parsing, 150 classes, 512 x 512 crops. data_root is the folder in which ADEChallengeData2016.zip was
# unpacked (mmseg users: your data/ade), that is, the one that holds
#     ADEChallengeData2016/images/{training,validation}/*.jpg
#     ADEChallengeData2016/annotations/{training,validation}/*.png
# Move it with the environment variable ADE20K_ROOT or with --cfg-options data_root=...
_base_ = './segmentation.py'

dataset_type = 'ADE20KDataset'
data_root = '{{$ADE20K_ROOT:data/ade}}'

# Pixels of value 0 have no class.
train_pipeline = _base_.train_pipeline
train_pipeline[1] = dict(type='LoadAnnotations', reduce_zero_label=True)
test_pipeline = _base_.test_pipeline
test_pipeline[2] = dict(type='LoadAnnotations', reduce_zero_label=True)
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[2] = [dict(type='LoadAnnotations', reduce_zero_label=True)]

train_dataloader = dict(
    batch_size=2,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(
            img_path='ADEChallengeData2016/images/training', seg_map_path='ADEChallengeData2016/annotations/training'),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(
            img_path='ADEChallengeData2016/images/validation',
            seg_map_path='ADEChallengeData2016/annotations/validation'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
