# Classification: mmengine's scope, without mmdet or mmseg; training counts epochs.
_base_ = './default_runtime.py'

default_scope = 'mmengine'

default_hooks = dict(
    checkpoint=dict(interval=1, save_best='accuracy/top1'),
    published_weights=dict(type='PublishedWeightsHook'),
    classes_check=dict(type='ClassesCheckHook'))

# Images have one size.
env_cfg = dict(cudnn_benchmark=True)

log_processor = dict(type='LogProcessor', by_epoch=True)
visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
