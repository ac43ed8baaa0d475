# Mixer: the branch gates the scan's output and has no convolution.
_base_ = './baseline.py'

model = dict(backbone=dict(mixer_branch='linear_gate'))
