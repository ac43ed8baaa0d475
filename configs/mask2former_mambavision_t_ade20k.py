# Mask2Former for semantic segmentation, MambaVision-T, ADE20K, 512 x 512, 160k iterations of 8 GPUs x 2 images.
_base_ = [
    './_base_/models/mask2former_mambavision.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/schedule_160k_mask2former.py',
    './_base_/mmseg_runtime.py',
]

# Choose the length of the short side at random, not a ratio of the whole image.
train_pipeline = _base_.train_pipeline
train_pipeline[2] = dict(
    type='RandomChoiceResize',
    scales=[int(512 * 0.1 * tenths) for tenths in range(5, 21)],
    resize_type='ResizeShortestEdge',
    max_size=2048)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
