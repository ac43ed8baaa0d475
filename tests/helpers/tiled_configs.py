"""Configs of a small detector and a small segmentor on data of one's own, to be cut to tiles."""
CONFIG = '''
_base_ = '{root}/configs/{base}.py'
model = dict(backbone=dict(
    arch=dict(_delete_=True, dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4)), window_size=(4, 2),
    init_cfg=None), {model})
train_dataloader = dict(batch_size=2, num_workers={workers}, persistent_workers=False,
                        dataset=dict(pipeline={pipeline}))
val_dataloader = dict(batch_size=3, num_workers=0, persistent_workers=False, dataset=dict(pipeline={pipeline}))
test_dataloader = val_dataloader
train_cfg = dict({length})
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=2)]
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1, save_best=None))
custom_imports = dict(_delete_=True, imports=[], allow_failed_imports=False)
'''
META = "meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')"
DETECTOR = dict(base='faster_rcnn_mambavision_t_custom', length='max_epochs=1', model=(
    'neck=dict(in_channels=[16, 32, 64, 128]), roi_head=dict(bbox_head=dict(fc_out_channels=16)), '
    'train_cfg=dict(rpn_proposal=dict(max_per_img=30), rcnn=dict(sampler=dict(num=16))), '
    'test_cfg=dict(rpn=dict(max_per_img=40), rcnn=dict(score_thr=0., max_per_img=10))'), pipeline=(
    "[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations', with_bbox=True), "
    f"dict(type='Resize', scale_factor=2.), dict(type='PackDetInputs', {META})]"))
SEGMENTOR = dict(base='upernet_mambavision_t_custom', length='max_iters=2, val_interval=2', model=(
    'decode_head=dict(in_channels=[16, 32, 64, 128], channels=16), auxiliary_head=dict(in_channels=64, channels=16), '
    'data_preprocessor=dict(size=(32, 32))'), pipeline=(
    "[dict(type='LoadImageFromFile'), dict(type='LoadAnnotations'), dict(type='PackSegInputs')]"))
