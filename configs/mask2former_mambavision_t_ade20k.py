# Mask2Former for semantic segmentation, MambaVision-T, ADE20K, 512 x 512, 160k iterations of 8 GPUs x 2 images.
_base_ = [
    './_base_/models/mask2former_mambavision.py',
    './_base_/datasets/ade20k.py',
    './_base_/schedules/schedule_160k_mask2former.py',
    './_base_/mmseg_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained',
            checkpoint='https://huggingface.co/nvidia/MambaVision-T-1K/resolve/main/mambavision_tiny_1k.pth.tar')))

# The short side is chosen, not the scale of the whole image.
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(
        type='RandomChoiceResize',
        scales=[int(512 * 0.1 * tenths) for tenths in range(5, 21)],
        resize_type='ResizeShortestEdge',
        max_size=2048),
    dict(type='RandomCrop', crop_size=(512, 512), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs')
]
train_dataloader = dict(batch_size=2, dataset=dict(pipeline=train_pipeline))
