# Detection: mmdet's scope, hook and visualizer; training counts epochs.
_base_ = './default_runtime.py'

default_scope = 'mmdet'

default_hooks = dict(
    checkpoint=dict(interval=1, save_best='coco/bbox_mAP'),
    visualization=dict(type='DetVisualizationHook'))

log_processor = dict(type='LogProcessor', by_epoch=True)
visualizer = dict(type='DetLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer')
