# The tiny detector with windows fitted to the map instead of padded to 112 and 56: at 800 x 1344, 4,200 tokens in
# stage 3 instead of 12,544. No published result. The one to start from on your own data.
_base_ = './cascade_mask_rcnn_mambavision_t_coco.py'

model = dict(backbone=dict(window_padding='fit'))
