# Pascal VOC 2012 segmentation, 21 classes with the background, 512 x 512 crops. data_root is the folder that holds
#     VOC2012/JPEGImages/*.jpg
#     VOC2012/SegmentationClass/*.png
#     VOC2012/ImageSets/Segmentation/{train,val}.txt
# (VOCtrainval_11-May-2012.tar of http://host.robots.ox.ac.uk/pascal/VOC/voc2012 has them below VOCdevkit/.)
# Move it with the environment variable VOC_ROOT or with --cfg-options data_root=...
_base_ = './segmentation.py'

dataset_type = 'PascalVOCDataset'
data_root = '{{$VOC_ROOT:data/VOCdevkit}}'
data_prefix = dict(img_path='VOC2012/JPEGImages', seg_map_path='VOC2012/SegmentationClass')

train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='VOC2012/ImageSets/Segmentation/train.txt',
        data_prefix=data_prefix))
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='VOC2012/ImageSets/Segmentation/val.txt',
        data_prefix=data_prefix))
test_dataloader = val_dataloader
