# FCN on MambaVision-T, for ADE20K's 150 classes: a fully convolutional head on all four stages, resized to stride 4 and
# concatenated, as mmseg does it for HRNet. (A head on stage 4 alone, whose stride of 32 can't be dilated away,
# would see 16 x 16 positions of a 512 x 512 crop.)
_base_ = './segmentor_mambavision.py'

model = dict(
    decode_head=dict(
        type='FCNHead',
        input_transform='resize_concat',
        kernel_size=1,
        num_convs=1,
        concat_input=False))
