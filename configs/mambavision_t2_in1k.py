# MambaVision-T2, ImageNet-1K at 224 x 224, 320 epochs, 32 GPUs x 128 images.
# Aims at the published result: top-1 82.7.
_base_ = './mambavision_t_in1k.py'

model = dict(backbone=dict(arch='tiny2'))

test_pipeline = [_base_.load, dict(type='PackImage', crop_pct=0.98)]
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
