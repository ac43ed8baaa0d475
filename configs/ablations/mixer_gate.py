# Mixer: the branch gates the scan's output instead of being joined to it.
_base_ = './baseline.py'

model = dict(backbone=dict(mixer_branch='gate'))
