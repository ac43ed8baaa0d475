# Mixer: causal convolutions.
_base_ = './baseline.py'

model = dict(backbone=dict(mixer_conv='causal'))
