# UperNet, MambaVision-T, Shapes at 128 x 128, from scratch, for two CPU cores. No published result.
# The ADE20K segmentor, with these changes:
# - backbone: windows 8 and 4 fitted to the map (published: 64 and 32), no drop path, no pretrained weights
# - decode head: 64 channels (512); auxiliary head: 64 channels (256); BN (SyncBN); no dropout (0.1)
# - schedule: 1,500 iterations of 4 images, lr 1e-3, three times that for the layers that give the classes, cosine
#   (160,000 iterations of 16 images, lr 5e-5, linear), gradients clipped
_base_ = [
    './_base_/models/upernet_mambavision.py',
    './_base_/datasets/shapes_segmentation.py',
    './_base_/mmseg_runtime.py',
    './_base_/schedules/schedule_shapes.py',
]

norm_cfg = dict(type='BN')

model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(window_size=(8, 4), window_padding='fit', drop_path_rate=0., init_cfg=None),
    decode_head=dict(channels=64, dropout_ratio=0., num_classes=4, norm_cfg=norm_cfg),
    auxiliary_head=dict(channels=64, dropout_ratio=0., num_classes=4, norm_cfg=norm_cfg))

# conv_seg, the layers that give the classes, start near zero: at the common learning rate the heads would predict
# nothing in the first hundred iterations.
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(custom_keys={'conv_seg': dict(lr_mult=3.)}))
train_cfg = dict(max_iters=1500, val_interval=1500)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='CosineAnnealingLR', eta_min=0., by_epoch=False, begin=30, end=1500)
]

default_hooks = dict(logger=dict(interval=10), checkpoint=dict(by_epoch=False, interval=500))
log_processor = dict(by_epoch=False, window_size=10)
