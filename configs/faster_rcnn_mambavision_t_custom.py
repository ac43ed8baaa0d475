# Faster R-CNN, MambaVision-T, on your own data: a folder with boxes, in COCO's or another format. Give its path in the
# environment variable CUSTOM_ROOT or as --cfg-options data_root=...; docs/data.md has the details.
_base_ = './faster_rcnn_mambavision_t_coco.py'

data_root = '{{$CUSTOM_ROOT:data/custom}}'
# A command finds the annotations, image folders and classes when it starts; its keys choose, docs/data.md.
custom_data = dict(format=None, train=None, val=None, test=None)
# None: found, and kept where you set it.
train_dataloader = dict(dataset=dict(ann_file=None, data_prefix=dict(img=None)))
val_dataloader = dict(dataset=dict(ann_file=None, data_prefix=dict(img=None)))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=None)
test_evaluator = val_evaluator

# The warm-up lasts the first epoch, however short that is.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=True, begin=0, end=1, convert_to_iter_based=True),
    _base_.param_scheduler[1]
]
# The learning rate, 1e-4 for 16 images, is scaled to your batch size.
auto_scale_lr = dict(enable=True)
