# Baseline: the published design.
# A small backbone, trained from scratch on Shapes at 64 x 64, one per image. The other files here change its design.
_base_ = '../mambavision_t_shapes.py'

model = dict(
    backbone=dict(
        arch=dict(
            _delete_=True, dim=24, in_dim=16, depths=(1, 1, 8, 2), num_heads=(1, 1, 2, 4), window_size=(4, 2))))
train_dataloader = dict(batch_size=32)
train_cfg = dict(max_iters=160, val_interval=160)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=16),
    dict(type='CosineAnnealingLR', eta_min=0., by_epoch=False, begin=16, end=160)
]
