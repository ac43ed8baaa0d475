# UperNet, MambaVision-L2, ADE20K, 512 x 512, 160k iterations of 16 images: sharded, recomputed and in bfloat16 like the
# L3 config beside it. No published result.
_base_ = './upernet_mambavision_b_ade20k.py'

model = dict(
    backbone=dict(
        arch='large2',
        with_cp=True,
        window_size=(64, 32),
        init_cfg=dict(
            checkpoint='https://huggingface.co/nvidia/MambaVision-L2-512-21K/resolve/main/'
            'mambavision_L2_21k_240m_512.pth.tar')),
    decode_head=dict(in_channels=[196, 392, 784, 1568]),
    auxiliary_head=dict(in_channels=784))

model_wrapper_cfg = dict(type='FullyShard')
optim_wrapper = dict(type='AmpOptimWrapper', dtype='bfloat16')
