# Mask R-CNN, MambaVision-T, COCO, 3x, with the habits of fine-tuning a pretrained network hard: a learning rate that
# falls with depth, no weight decay for norms, biases and the scan's own parameters, clipped gradients, and the average
# of the weights (EMA) validated and kept beside the last.
_base_ = './mask_rcnn_mambavision_t_ms-3x_coco.py'

optim_wrapper = dict(
    constructor='LayerDecayOptimWrapperConstructor',
    optimizer=dict(lr=2e-4),
    paramwise_cfg=dict(
        _delete_=True,
        decay_rate=0.9,
        decay_type='layer_wise',
        # All that has one dimension: norms, biases, D and layer scale.
        flat_decay_mult=0.,
        custom_keys={'A_log': dict(decay_mult=0.)}),
    clip_grad=dict(max_norm=1.0, norm_type=2))

custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.0002, update_buffers=True, priority=49)
]
