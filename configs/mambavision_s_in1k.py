# MambaVision-S, ImageNet-1K at 224 x 224, 320 epochs, 32 GPUs x 128 images.
# Aims at the published result: top-1 83.3.
_base_ = './mambavision_t_in1k.py'

model = dict(backbone=dict(arch='small'))

test_pipeline = [_base_.load, dict(type='PackImage', crop_pct=0.93)]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
