# UperNet, MambaVision-T, Shapes, 400 iterations of 8 images, from scratch, on a CPU.
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
    decode_head=dict(channels=64, num_classes=6, norm_cfg=norm_cfg),
    auxiliary_head=dict(channels=64, num_classes=6, norm_cfg=norm_cfg))

default_hooks = dict(logger=dict(interval=10), checkpoint=dict(by_epoch=False, interval=100))
log_processor = dict(by_epoch=False, window_size=10)
