# UperNet, MambaVision-L3, ADE20K, for GPUs that the plain config doesn't fit: parameters, gradients and optimiser
# states sharded over all processes, blocks recomputed in the backward, bfloat16. No published result.
_base_ = './upernet_mambavision_l3_ade20k-640x640.py'

model = dict(backbone=dict(with_cp=True))
model_wrapper_cfg = dict(type='FullyShard')
optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16')
