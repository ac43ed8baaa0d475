# DeepLabV3+, MambaVision-T, Pascal VOC 2012, 512 x 512, 80k iterations of 16 images (4 GPUs x 4).
_base_ = [
    './_base_/models/deeplabv3plus_mambavision.py',
    './_base_/datasets/voc12.py',
    './_base_/schedules/schedule_80k.py',
    './_base_/mmseg_runtime.py',
]

model = dict(decode_head=dict(num_classes=21), auxiliary_head=dict(num_classes=21))
