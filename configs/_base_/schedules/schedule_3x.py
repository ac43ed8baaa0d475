# 36 epochs, published for 8 GPUs x 2 images. No gradient clipping, no EMA, no layer-wise decay.
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=36, val_interval=1)
# Validation and test run in float32, also after training in mixed precision.
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# float16 with a dynamic loss scale: the wrapper's defaults on CUDA.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    # By name: spares the norms of the blocks and the outputs, not the BatchNorm of the stem and the heads.
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.)}))

param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[27, 33], gamma=0.1)
]

auto_scale_lr = dict(enable=False, base_batch_size=16)
