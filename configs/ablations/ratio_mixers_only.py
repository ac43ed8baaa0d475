# Ratio: mixers only.
_base_ = './baseline.py'

model = dict(backbone=dict(mixer_ratio=1.))
