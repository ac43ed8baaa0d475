# Settings that configs of strong fine-tuning share, with any schedule. A config with this base takes the dict out, for
# its own `optim_wrapper`: `dict(**_base_.pop('fine_tuning'), optimizer=...)`.
fine_tuning = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        _delete_=True,
        decay_rate=0.9,
        decay_type='layer_wise',
        # Parameters of one dimension: norms, biases, D and layer scale.
        flat_decay_mult=0.,
        custom_keys={'A_log': dict(decay_mult=0.)}),
    clip_grad=dict(max_norm=1.0, norm_type=2))

custom_hooks = [
    dict(type='EMAHook', ema_type='mmdet.ExpMomentumEMA', momentum=0.0002, update_buffers=True, priority=49)
]
