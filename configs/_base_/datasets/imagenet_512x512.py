# ImageNet at 512 x 512, tested as the published weights for that size are: images squashed to a square.
_base_ = './imagenet.py'

train_pipeline = [_base_.load, dict(**_base_.train_pipeline[1], input_size=512)]
test_pipeline = [_base_.load, dict(type='PackImage', input_size=512, crop_pct=0.93, crop_mode='squash')]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
