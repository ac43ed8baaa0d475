# 310 epochs, 20 of them warm-up, and 10 more at the last learning rate. Published for 128 images per GPU; the paper's
# batch is 4,096, so 32 GPUs.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=320, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# Not published, and timm's habit: no decay for biases and whatever else has one dimension.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='Lamb', lr=5e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(flat_decay_mult=0.),
    clip_grad=dict(max_norm=5.0))

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6 / 5e-3, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=5e-6, by_epoch=True, begin=20, end=310, convert_to_iter_based=True)
]

custom_hooks = [dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=2e-4, update_buffers=True)]

auto_scale_lr = dict(enable=False, base_batch_size=4096)
