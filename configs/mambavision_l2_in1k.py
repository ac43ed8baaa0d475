# MambaVision-L2, ImageNet-1K at 224 x 224, 320 epochs, 32 GPUs x 128 images.
# Aims at the published result: top-1 85.3.
_base_ = './mambavision_l_in1k.py'

model = dict(backbone=dict(arch='large2'))
