# Pattern: attention in the first half, SSSSMMMM.
_base_ = './baseline.py'

model = dict(backbone=dict(pattern='attention_first'))
