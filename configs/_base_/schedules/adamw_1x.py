# AdamW instead of SGD, for 12 epochs, as mmdet trains its detectors on Swin and PVT. For configs whose base in mmdet
# has a schedule: they take both dicts out, `optim_wrapper = dict(_delete_=True, **_base_.pop('adamw'))`.
adamw = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.)}))
steps_1x = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[8, 11], gamma=0.1)
]
