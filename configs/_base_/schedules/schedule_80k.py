# 80,000 iterations, else as schedule_160k.py.
_base_ = './schedule_160k.py'

train_cfg = dict(max_iters=80000, val_interval=8000)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(type='PolyLR', power=1.0, eta_min=0., by_epoch=False, begin=1500, end=80000)
]
