# 310 epochs, 20 of them warm-up, and 10 more at the last learning rate, as in the training arguments published with the
# weights. The paper (appendix I of its CVPR version) says 32 GPUs and a batch of 4,096, so 128 images per GPU as there,
# and a learning rate of 4e-3; the arguments' 5e-3 is taken.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=320, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# As timm does by default (this is not published): no weight decay for parameters of one dimension, such as biases.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='Lamb', lr=5e-3, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(flat_decay_mult=0.),
    clip_grad=dict(max_norm=5.0))

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6 / 5e-3, by_epoch=True, begin=0, end=20, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=5e-6, by_epoch=True, begin=20, end=310, convert_to_iter_based=True)
]

# MESA: after a quarter of the training, the loss also draws predictions to those of the averaged weights. Weight and
# beginning are in the training arguments of MambaVision-S; the formula is that of MESA's paper.
custom_hooks = [
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=2e-4, update_buffers=True),
    dict(type='MESAHook', weight=0.5, begin=0.25, temperature=3.)
]

auto_scale_lr = dict(enable=False, base_batch_size=4096)
