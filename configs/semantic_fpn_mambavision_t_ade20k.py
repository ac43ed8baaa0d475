# Semantic FPN, MambaVision-T, ADE20K, 512 x 512, 80k iterations of 8 GPUs x 2 images.
_base_ = [
    './_base_/models/semantic_fpn_mambavision.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/schedule_80k_fpn.py',
    './_base_/mmseg_runtime.py',
]
