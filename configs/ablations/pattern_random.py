# Pattern: random, as many of each.
_base_ = './baseline.py'

model = dict(backbone=dict(pattern='random', pattern_seed=0))
