# The tiny segmentor with windows fitted to the map instead of padded to 64 and 32: for a 512 x 512 crop, 1,024 tokens
# in stage 3 instead of 4,096. No published result. The one to start from on your own data.
_base_ = './upernet_mambavision_t_ade20k.py'

model = dict(backbone=dict(window_padding='fit'))
