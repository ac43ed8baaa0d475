# MambaVision-T with the detectors' settings, for any model. mmengine can't merge two base files that both define
# `model`, so a config with this base takes the dict out and makes it its backbone, with its own changes:
# `backbone=dict(**_base_.pop('mambavision_t'), out_indices=(1, 2, 3))`.
mambavision_t = dict(
    type='MambaVision',
    arch='tiny',
    # One window holds the whole map of images up to 1792 pixels a side.
    window_size=(112, 56),
    init_cfg=dict(
        type='Pretrained',
        checkpoint='https://huggingface.co/nvidia/MambaVision-T-1K/resolve/main/mambavision_tiny_1k.pth.tar'))
