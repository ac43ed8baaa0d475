# Settings that schedules of 16 images share: AdamW in mixed precision, no gradient clipping, EMA or layer-wise decay.

# float16 with a dynamic loss scale: the wrapper's defaults on CUDA.
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    # The name 'norm' matches the norms of the blocks and the outputs, not the BatchNorm of the stem and the heads.
    paramwise_cfg=dict(custom_keys={'norm': dict(decay_mult=0.)}))

# Validation and test run in float32, also after training in mixed precision.
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

auto_scale_lr = dict(enable=False, base_batch_size=16)
