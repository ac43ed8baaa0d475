"""Small detectors of several kinds, with weights that find something."""
import argparse
import copy
from functools import partial

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData

from mmvision_mamba.export.detector_job import DetectorExport
from mmvision_mamba.export.parts import build_exportable
from mmvision_mamba.export.pipeline import pipeline_settings
from mmvision_mamba.export.reference import Reference

from . import ROOT

BACKBONE = dict(type='MambaVision', arch=dict(dim=8, in_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 4)),
                window_size=(4, 2))
CHANNELS, CLASSES = 16, 4
PREPROCESSOR = dict(type='DetDataPreprocessor', mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375],
                    bgr_to_rgb=True, pad_size_divisor=32)
ANCHORS = dict(type='AnchorGenerator', ratios=[1.0], octave_base_scale=8, scales_per_octave=1,
               strides=[8, 16, 32, 64, 128])
DELTAS = dict(type='DeltaXYWHBBoxCoder', target_means=[0.] * 4, target_stds=[0.1, 0.1, 0.2, 0.2])
TEST_CFG = dict(nms_pre=60, min_bbox_size=0, score_thr=0.05, nms=dict(type='nms', iou_threshold=0.5), max_per_img=30)
FOCAL = dict(type='FocalLoss', use_sigmoid=True)
GIOU = dict(type='GIoULoss')
HEADS = dict(
    RetinaNet=dict(type='RetinaHead', anchor_generator=dict(ANCHORS, ratios=[0.5, 1., 2.], scales_per_octave=2),
                   bbox_coder=DELTAS, loss_cls=FOCAL),
    # Softmax over classes and background.
    RetinaSoftmax=dict(type='RetinaHead', anchor_generator=ANCHORS, bbox_coder=DELTAS,
                       loss_cls=dict(type='CrossEntropyLoss')),
    FCOS=dict(type='FCOSHead', norm_cfg=dict(type='GN', num_groups=4), strides=[8, 16, 32, 64, 128],
              centerness_on_reg=True, norm_on_bbox=True, loss_cls=FOCAL),
    ATSS=dict(type='ATSSHead', norm_cfg=dict(type='GN', num_groups=4), anchor_generator=ANCHORS, bbox_coder=DELTAS,
              loss_cls=FOCAL, loss_bbox=GIOU),
    GFL=dict(type='GFLHead', norm_cfg=dict(type='GN', num_groups=4), anchor_generator=ANCHORS, reg_max=4,
             loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True), loss_bbox=GIOU),
    RTMDet=dict(type='RTMDetSepBNHead',
                anchor_generator=dict(type='MlvlPointGenerator', offset=0, strides=[4, 8, 16, 32]),
                bbox_coder=dict(type='DistancePointBBoxCoder'), norm_cfg=dict(type='BN'), exp_on_reg=True,
                loss_cls=dict(type='QualityFocalLoss', use_sigmoid=True), loss_bbox=GIOU, with_objectness=False),
    FreeAnchor=dict(type='FreeAnchorRetinaHead', anchor_generator=ANCHORS, bbox_coder=DELTAS),
    AutoAssign=dict(type='AutoAssignHead', norm_cfg=dict(type='GN', num_groups=4), strides=[8, 16, 32, 64, 128]),
    DDOD=dict(type='DDODHead', norm_cfg=dict(type='GN', num_groups=4), anchor_generator=ANCHORS, bbox_coder=DELTAS,
              use_dcn=False),
    YOLOF=dict(type='YOLOFHead', anchor_generator=dict(type='AnchorGenerator', ratios=[1.0], scales=[1, 2, 4],
                                                       strides=[32]),
               bbox_coder=dict(DELTAS, add_ctr_clamp=True, ctr_clamp=8), loss_cls=FOCAL))


def single_stage(kind: str, **test_cfg) -> Config:
    """The config of a single-stage detector with a head of `HEADS`."""
    neck = dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=CHANNELS, num_outs=5, start_level=1,
                add_extra_convs='on_output')
    if kind == 'RTMDet':
        neck = dict(type='FPN', in_channels=[8, 16, 32, 64], out_channels=CHANNELS, num_outs=4)
    if kind == 'YOLOF':  # a single level
        neck = dict(type='ChannelMapper', in_channels=[64], out_channels=CHANNELS)
    head = dict(HEADS[kind], num_classes=CLASSES, in_channels=CHANNELS, feat_channels=CHANNELS)
    if kind != 'YOLOF':
        head['stacked_convs'] = 1
    backbone = dict(BACKBONE, out_indices=(3,)) if kind == 'YOLOF' else BACKBONE
    model = dict(type='RTMDet' if kind == 'RTMDet' else 'SingleStageDetector', data_preprocessor=PREPROCESSOR,
                 backbone=backbone, neck=neck, bbox_head=head, test_cfg=dict(TEST_CFG, **test_cfg))
    return Config(dict(model=copy.deepcopy(model), default_scope='mmdet'))


def cascade(agnostic: bool = False, stages: int = 3, masks: bool = True) -> Config:
    """The config of a Cascade (Mask) R-CNN, or with one stage of a Mask or Faster R-CNN."""
    cfg = Config.fromfile(ROOT / 'configs/_base_/models/cascade_mask_rcnn_mambavision.py')
    model = cfg.model
    model.backbone = ConfigDict(copy.deepcopy(BACKBONE))
    model.neck.update(in_channels=[8, 16, 32, 64], out_channels=CHANNELS)
    model.rpn_head.update(in_channels=CHANNELS, feat_channels=CHANNELS)
    model.rpn_head.anchor_generator.scales = [4]
    head = model.roi_head
    for box_head in head.bbox_head:
        box_head.update(in_channels=CHANNELS, conv_out_channels=CHANNELS, fc_out_channels=32, num_shared_convs=1,
                        num_classes=CLASSES, reg_class_agnostic=agnostic, norm_cfg=None)
    for extractor in (head.bbox_roi_extractor, head.mask_roi_extractor):
        extractor.out_channels = CHANNELS
    head.mask_head.update(in_channels=CHANNELS, conv_out_channels=CHANNELS, num_convs=1, num_classes=CLASSES,
                          class_agnostic=agnostic)
    model.test_cfg.rpn.update(nms_pre=60, max_per_img=40)
    model.test_cfg.rcnn.max_per_img = 15
    if not masks:
        head.pop('mask_head'), head.pop('mask_roi_extractor')
    if stages == 1:
        model.type = 'FasterRCNN'
        head.update(type='StandardRoIHead', bbox_head=head.bbox_head[0])
        head.pop('num_stages'), head.pop('stage_loss_weights')
        model.train_cfg.rcnn = model.train_cfg.rcnn[0]
    cfg.default_scope = 'mmdet'
    return cfg


def samples(*sizes: tuple[int, int], padded: tuple[int, int] | None = None) -> list[DetDataSample]:
    return [DetDataSample(metainfo=dict(img_shape=size, ori_shape=size, scale_factor=(1., 1.),
                                        batch_input_shape=padded or size, pad_shape=padded or size)) for size in sizes]


def labelled(size: tuple[int, int]) -> list[DetDataSample]:
    """A sample with two objects, for training."""
    sample, = samples(size)
    boxes = torch.tensor([[8., 8, 56, 60], [64, 20, 120, 90]])
    masks = np.zeros((2, *size), np.uint8)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist()):
        mask[top:bottom, left:right] = 1
    sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([0, 2]), masks=BitmapMasks(masks, *size))
    return [sample]


@torch.no_grad()
def build(cfg: Config, seed: int = 0):
    """The config's model, in eval mode, with heads that give many different scores above the threshold."""
    init_default_scope('mmdet')
    torch.manual_seed(seed)
    model = MODELS.build(cfg.model).eval()
    layers = [(name, m) for name, m in model.named_modules() if 'head' in name
              and isinstance(m, (torch.nn.Conv2d, torch.nn.Linear, torch.nn.ConvTranspose2d))]
    used = set()

    def normalise(name, module, inputs, out):
        """At its first use, give a layer's outputs a mean of 0 per channel and a certain deviation."""
        if name in used:
            return None
        used.add(name)
        channels = (0, *range(2, out.dim()))
        factor = (2. if 'cls' in name else 1.) / out.std()
        shift = -factor * out.mean(channels)
        module.weight.mul_(factor)
        module.bias = torch.nn.Parameter(shift if module.bias is None else module.bias * factor + shift)
        return factor * out + shift.view(-1, *[1] * (out.dim() - 2))

    hooks = [module.register_forward_hook(partial(normalise, name)) for name, module in layers]
    model.predict(torch.stack(images((96, 128), seed=1)), samples((96, 128)))
    for hook in hooks:
        hook.remove()
    return model


def images(*sizes: tuple[int, int], seed: int = 0) -> list[torch.Tensor]:
    """Smooth random pictures of these sizes, normalised."""
    generator = torch.Generator().manual_seed(seed)
    return [2 * torch.nn.functional.interpolate(torch.randn(1, 3, 7, 9, generator=generator), size, mode='bicubic')[0]
            for size in sizes]


SHAPE = 96, 128
CFG = Config(dict(model=dict(data_preprocessor=PREPROCESSOR), default_scope='mmdet',
                  test_pipeline=[dict(type='Resize', scale=(128, 96), keep_ratio=True)]))
SETTINGS = pipeline_settings(CFG)


def in_pytorch(model):
    """What mmdet finds in images that are made to fit `SHAPE`, see `Reference`."""
    return Reference(model, 'detector', CFG, SETTINGS, SHAPE)


def export(model, path, **options):
    """Export as tools/export.py does with these options; returns the rows of its table."""
    args = argparse.Namespace(**dict(shape=SHAPE, batch=1, dynamic=None, fp16=False, simplify=False, format='onnx',
                                     with_preprocess=False, opset=17, int8=None, images=None) | options)
    meta = dict(classes=list('abcd'), palette=[])
    return DetectorExport(build_exportable(model, 'detector'), model, args, CFG, meta).write(path)
