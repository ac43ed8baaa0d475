# Faster R-CNN, MambaVision-T, on your own data: a folder with COCO annotations, boxes alone. Give its path in the
# environment variable CUSTOM_ROOT or as --cfg-options data_root=...; docs/custom_dataset.md has the details.
_base_ = './faster_rcnn_mambavision_t_coco.py'

data_root = '{{$CUSTOM_ROOT:data/custom}}'
# A command finds the annotation files, image folders and classes when it starts. train and val choose files.
custom_data = dict(format='coco', train=None, val=None)

# The warm-up lasts the first epoch, however short that is.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    _base_.param_scheduler[1]
]
# The learning rate, 1e-4 for 16 images, is scaled to your batch size.
auto_scale_lr = dict(enable=True)
