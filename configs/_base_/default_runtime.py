# Settings that all runs share. The other *_runtime.py files add those that differ between mmdet, mmseg and
# classification.
custom_imports = dict(imports=['mmvision_mamba'], allow_failed_imports=False)

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Two, because mmengine's hook deletes the oldest before it writes the new one. It keeps the best besides.
    checkpoint=dict(type='CheckpointHook', max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'))

env_cfg = dict(
    cudnn_benchmark=False,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'))

log_level = 'INFO'
load_from = None
resume = False
