# Mixer: no symmetric branch, all channels go through the scan.
_base_ = './baseline.py'

model = dict(backbone=dict(mixer_branch='none'))
