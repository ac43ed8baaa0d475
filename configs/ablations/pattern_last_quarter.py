# Pattern: attention in the last quarter, MMMMMMSS.
_base_ = './baseline.py'

model = dict(backbone=dict(mixer_ratio=0.75))
