# No weight decay for the backbone's norms in Mask2Former's training, which gives the backbone a tenth of the learning
# rate. That custom key, 'backbone', has precedence over norm_decay_mult, so each norm needs a longer key here. Configs
# take the dict out: `custom_keys={..., **_base_.pop('backbone_norms')}`.
spared = dict(lr_mult=0.1, decay_mult=0.)
backbone_norms = {
    'backbone.outnorm': spared,
    'backbone.patch_embed.conv_down.1': spared,
    'backbone.patch_embed.conv_down.4': spared,
    **{f'blocks.{j}.norm': spared for j in range(20)}  # the deepest stage of the family has 20
}
