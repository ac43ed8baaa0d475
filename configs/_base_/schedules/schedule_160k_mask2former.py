# 160,000 iterations of 16 images, as mmseg trains Mask2Former: a tenth of the learning rate for the backbone, tight
# clipping, no warm-up.
_base_ = './mask2former_norms.py'

train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

backbone = dict(lr_mult=0.1, decay_mult=1.)
embedding = dict(lr_mult=1., decay_mult=0.)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(
        norm_decay_mult=0.,
        custom_keys={
            'backbone': backbone,
            **_base_.pop('backbone_norms'),
            'query_embed': embedding,
            'query_feat': embedding,
            'level_embed': embedding
        }))

param_scheduler = [dict(type='PolyLR', power=0.9, eta_min=0., by_epoch=False, begin=0, end=160000)]

auto_scale_lr = dict(enable=False, base_batch_size=16)
