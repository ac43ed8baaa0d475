# Cityscapes, 19 classes, 512 x 1024 crops. data_root is the folder that holds
#     leftImg8bit/{train,val}/CITY/*_leftImg8bit.png
#     gtFine/{train,val}/CITY/*_gtFine_labelTrainIds.png
# https://www.cityscapes-dataset.com has leftImg8bit_trainvaltest.zip and gtFine_trainvaltest.zip; cityscapesscripts'
# csCreateTrainIdLabelImgs makes the labelTrainIds files from the latter.
# Move it with the environment variable CITYSCAPES_ROOT or with --cfg-options data_root=...
_base_ = './segmentation.py'

dataset_type = 'CityscapesDataset'
data_root = '{{$CITYSCAPES_ROOT:data/cityscapes}}'

train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(type='RandomResize', scale=(2048, 1024), ratio_range=(0.5, 2.0), keep_ratio=True)
train_pipeline[3] = dict(type='RandomCrop', crop_size=(512, 1024), cat_max_ratio=0.75)
test_pipeline = _base_.test_pipeline
test_pipeline[1] = dict(type='Resize', scale=(2048, 1024), keep_ratio=True)

train_dataloader = dict(
    batch_size=2,
    num_workers=2,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader
