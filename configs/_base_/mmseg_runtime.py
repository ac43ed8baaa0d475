# Segmentation: mmseg's scope, hook and visualizer; training counts iterations.
_base_ = './default_runtime.py'

default_scope = 'mmseg'

default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=16000, save_best='mIoU'),
    visualization=dict(type='SegVisualizationHook'))

# Training crops have one size.
env_cfg = dict(cudnn_benchmark=True)

log_processor = dict(type='LogProcessor', by_epoch=False)
visualizer = dict(type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
