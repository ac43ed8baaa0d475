# Cascade Mask R-CNN, MambaVision-T, COCO, 3x.
# Aims at the published result: box AP 51.1, mask AP 44.3 (published test log: 51.2, 44.4).
# Published drop path: 0.2 nominal, 0.2 in effect.
_base_ = [
    './_base_/models/cascade_mask_rcnn_mambavision.py',
    './_base_/datasets/coco_instance.py',
    './_base_/schedules/schedule_3x.py',
    './_base_/mmdet_runtime.py',
]
