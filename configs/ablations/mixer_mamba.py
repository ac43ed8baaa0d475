# Mixer: Mamba's, a causal convolution and a gate without one.
_base_ = './baseline.py'

model = dict(backbone=dict(mixer_conv='causal', mixer_branch='linear_gate'))
