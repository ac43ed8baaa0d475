# Mixer: causal convolutions and a gate, of these the closest to Mamba's.
_base_ = './baseline.py'

model = dict(backbone=dict(mixer_conv='causal', mixer_branch='gate'))
