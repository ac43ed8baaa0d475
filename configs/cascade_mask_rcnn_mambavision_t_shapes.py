# Cascade Mask R-CNN, MambaVision-T, Shapes at 128 x 128, from scratch, for two CPU cores. No published result.
# The COCO detector, with these changes:
# - backbone: windows 8 and 4 fitted to the map (published: 112 and 56), no drop path, no pretrained weights
# - FPN and RPN: 64 channels (256); anchors half as large, from 16 pixels; 64 anchors sampled per image (256)
# - proposals: 100 per image in training (2000), 50 in tests (1000); 20 detections per image (100)
# - RoIs per image and stage: 48 (512)
# - box heads: two fully connected layers of 256 (4 convolutions, one layer of 1024), no norm, class-agnostic, SmoothL1
#   on deltas (GIoU on boxes)
# - mask heads: 2 convolutions of 64 channels (4 of 256), class-agnostic
# - schedule: 400 iterations of 4 images, lr 6e-4, cosine (36 epochs of 16 images, lr 1e-4, steps), gradients clipped
_base_ = [
    './_base_/models/cascade_mask_rcnn_mambavision.py',
    './_base_/datasets/shapes_detection.py',
    './_base_/mmdet_runtime.py',
    './_base_/schedules/schedule_shapes.py',
]

channels = 64
roi_extractor = dict(out_channels=channels)

model = dict(
    backbone=dict(window_size=(8, 4), window_padding='fit', drop_path_rate=0., init_cfg=None),
    neck=dict(out_channels=channels),
    rpn_head=dict(in_channels=channels, feat_channels=channels, anchor_generator=dict(scales=[4])),
    roi_head=dict(
        bbox_roi_extractor=roi_extractor,
        bbox_head=[
            dict(
                type='Shared2FCBBoxHead',
                in_channels=channels,
                fc_out_channels=256,
                roi_feat_size=7,
                num_classes=3,
                bbox_coder=head.bbox_coder,
                reg_class_agnostic=True,
                loss_cls=head.loss_cls,
                loss_bbox=dict(type='SmoothL1Loss', beta=1.0, loss_weight=1.0))
            for head in _base_.model.roi_head.bbox_head
        ],
        mask_roi_extractor=roi_extractor,
        mask_head=dict(
            num_convs=2, in_channels=channels, conv_out_channels=64, num_classes=3, class_agnostic=True)),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=300, max_per_img=100),
        rcnn=[dict(stage, sampler=dict(stage.sampler, num=48)) for stage in _base_.model.train_cfg.rcnn]),
    test_cfg=dict(rpn=dict(nms_pre=300, max_per_img=50), rcnn=dict(max_per_img=20)))

default_hooks = dict(logger=dict(interval=10), checkpoint=dict(by_epoch=False, interval=200))
log_processor = dict(by_epoch=False, window_size=10)
