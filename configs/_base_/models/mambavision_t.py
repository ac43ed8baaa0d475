# MambaVision-T as detectors have it, for any model. mmengine merges no two bases that both have a `model`, so configs
# that have this file among theirs take the dict out and put it where their backbone is, with what they change:
# `backbone=dict(**_base_.pop('mambavision_t'), out_indices=(1, 2, 3))`.
mambavision_t = dict(
    type='MambaVision',
    arch='tiny',
    # One window holds the whole map of images up to 1792 pixels a side.
    window_size=(112, 56),
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://huggingface.co/nvidia/MambaVision-T-1K/resolve/main/mambavision_tiny_1k.pth.tar'))
