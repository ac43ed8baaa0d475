# Cascade Mask R-CNN, MambaVision-T, on your own data: a folder with COCO annotations, boxes and masks. Give its path in
# the environment variable CUSTOM_ROOT or as --cfg-options data_root=...; docs/custom_dataset.md tells the rest.
_base_ = './cascade_mask_rcnn_mambavision_t_fit_coco.py'

data_root = '{{$CUSTOM_ROOT:data/custom}}'
# Found when a tool starts: the annotation files, the images' folders, the classes. train and val choose files.
custom_data = dict(format='coco', train=None, val=None)

# The first epoch is the warm-up, however short.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    _base_.param_scheduler[1]
]
# 1e-4 is for 16 images: it is scaled to your batch.
auto_scale_lr = dict(enable=True)
