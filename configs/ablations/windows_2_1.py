# Windows: 2 and 1, a quarter of the map each.
_base_ = './baseline.py'

model = dict(backbone=dict(window_size=(2, 1)))
