# Pattern: mixers and attention in turns, MSMSMSMS.
_base_ = './baseline.py'

model = dict(backbone=dict(pattern=('MSMSMSMS', 'MS')))
