"""Configs of a small detector, segmentor and classifier on Shapes, as the text of their files."""
from . import ROOT

ARCH = "dict(_delete_=True, dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))"
BACKBONE = f"dict(arch={ARCH}, window_size=(4, 2))"
COMMON = '''
train_dataloader = dict(batch_size=2)
train_cfg = dict(max_iters=4, val_interval=2)
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=2)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=2))
custom_imports = dict(_delete_=True, imports=[], allow_failed_imports=False)
'''
DETECTOR = f'''
_base_ = '{ROOT}/configs/cascade_mask_rcnn_mambavision_t_shapes.py'
model = dict(
    backbone={BACKBONE}, neck=dict(in_channels=[16, 32, 64, 128]),
    test_cfg=dict(rcnn=dict(score_thr=0.)))  # hardly trained: without this it may find nothing, and has no AP
''' + COMMON
SEGMENTOR = f'''
_base_ = '{ROOT}/configs/upernet_mambavision_t_shapes.py'
model = dict(backbone={BACKBONE}, decode_head=dict(in_channels=[16, 32, 64, 128]), auxiliary_head=dict(in_channels=64))
''' + COMMON
CLASSIFIER = f'''
_base_ = '{ROOT}/configs/mambavision_t_shapes.py'
model = dict(backbone=dict(arch={ARCH}))
custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=2e-4, update_buffers=True)]
''' + COMMON

# In the place of the config that `train FOLDER` takes for masks.
OF_A_FOLDER = '''
_base_ = '{root}/configs/upernet_mambavision_t_custom.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)),
                  window_size=(4, 2), init_cfg=None),
    decode_head=dict(in_channels=[16, 32, 64, 128], channels=16), auxiliary_head=dict(in_channels=64, channels=16))
default_hooks = dict(logger=dict(interval=1))
custom_imports = dict(_delete_=True, imports=[], allow_failed_imports=False)
'''
