# 160,000 iterations of 16 images.
train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
# Validation and test run in float32, also after training in mixed precision.
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# float16 with a dynamic loss scale: the wrapper's defaults on CUDA.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=5e-5, betas=(0.9, 0.999), weight_decay=0.01),
    # By name: spares the norms of the blocks and the outputs, not the BatchNorm of the stem and the heads.
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.)}))

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0., by_epoch=False, begin=1500, end=160000)
]

auto_scale_lr = dict(enable=False, base_batch_size=16)
