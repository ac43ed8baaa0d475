# Mask R-CNN, MambaVision-T, Cityscapes, 64 epochs of 8 images (8 GPUs x 1). Start from COCO for a better result:
# --cfg-options load_from=CHECKPOINT of mask_rcnn_mambavision_t_1x_coco.
_base_ = [
    './_base_/models/mask_rcnn_mambavision.py',
    './_base_/datasets/cityscapes_instance.py',
    './_base_/schedules/schedule_1x.py',
    './_base_/mmdet_runtime.py',
]

model = dict(
    roi_head=dict(
        bbox_head=dict(num_classes=8, loss_bbox=dict(type='SmoothL1Loss', beta=1.0)), mask_head=dict(num_classes=8)))

# Half of COCO's batch size, half of its learning rate. An epoch sees each image eight times, so eight epochs count as
# 64; the learning rate drops after the seventh.
train_cfg = dict(max_epochs=8)
optim_wrapper = dict(optimizer=dict(lr=5e-5))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=8, milestones=[7], gamma=0.1)
]
auto_scale_lr = dict(base_batch_size=8)
