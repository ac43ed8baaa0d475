# MambaVision-L3, ImageNet-1K at 256 x 256.
# Aims at the published result of the weights pretrained on ImageNet-21K: top-1 87.3.
# Their training recipe is not published; this file trains with large2's recipe and large3's drop path.
_base_ = './mambavision_l2_in1k.py'

model = dict(backbone=dict(arch='large3'))

train_pipeline = [_base_.load, dict(**_base_.train_pipeline[1], input_size=256)]
test_pipeline = [_base_.load, dict(type='PackImage', input_size=256, crop_pct=1.0)]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
