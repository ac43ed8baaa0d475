# 80,000 iterations of 16 images, with the optimiser that mmseg has for Semantic FPN on such backbones (PoolFormer):
# AdamW, 2e-4, weight decay 1e-4, polynomial of power 0.9, no warm-up.
_base_ = './schedule_80k.py'

optim_wrapper = dict(optimizer=dict(lr=2e-4, weight_decay=1e-4))
param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0., by_epoch=False, begin=0, end=80000)]
