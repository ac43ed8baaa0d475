# Mask R-CNN, MambaVision-T, COCO, 3x, with a strong fine-tuning recipe: layer-wise learning rate decay, no weight decay
# for norms, biases and the scan's own parameters, clipped gradients, and the average of the weights (EMA) validated and
# kept beside the last.
_base_ = ['./mask_rcnn_mambavision_t_ms-3x_coco.py', './_base_/schedules/fine_tuning.py']

optim_wrapper = dict(**_base_.pop('fine_tuning'), optimizer=dict(lr=2e-4))
