# Pattern: attention and mixers in turns, SMSMSMSM.
_base_ = './baseline.py'

model = dict(backbone=dict(pattern=('SMSMSMSM', 'SM')))
