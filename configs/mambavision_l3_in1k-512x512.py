# MambaVision-L3, ImageNet-1K at 512 x 512, windows 32 and 16.
# Aims at the published result of the weights pretrained on ImageNet-21K: top-1 88.1, images squashed to a square.
# Their training recipe is not published; this file trains with large2's of 224 pixels.
_base_ = './mambavision_l2_in1k-512x512.py'

model = dict(backbone=dict(arch='large3'))
