# UperNet, MambaVision-T with fitted windows, ADE20K, 160k, with a strong fine-tuning recipe: layer-wise learning rate
# decay, no weight decay for norms, biases and the scan's own parameters, clipped gradients, and the average of the
# weights (EMA) validated and kept beside the last.
_base_ = ['./upernet_mambavision_t_fit_ade20k.py', './_base_/schedules/fine_tuning.py']

optim_wrapper = dict(**_base_.pop('fine_tuning'), optimizer=dict(lr=1e-4, weight_decay=0.05))
