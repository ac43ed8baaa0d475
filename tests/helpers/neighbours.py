"""The neighbours: every other detector and segmentor config, shrunk until a training step takes a second."""
import copy

import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmvision_mamba.preflight.check_model import class_counts, weights_of_classes

from . import ROOT

CONFIGS = ROOT / 'configs'
DETECTORS = (
    'atss_mambavision_t_coco',
    'cascade_rcnn_mambavision_t_coco',
    'deformable_detr_mambavision_t_coco',
    'dino_mambavision_t_coco',
    'faster_rcnn_mambavision_t_coco',
    'faster_rcnn_mambavision_t_voc0712',
    'fcos_mambavision_t_coco',
    'mask2former_mambavision_t_coco',
    'mask2former_mambavision_t_coco-panoptic',
    'mask_rcnn_mambavision_t_1x_coco',
    'mask_rcnn_mambavision_t_cityscapes',
    'mask_rcnn_mambavision_t_lvis',
    'mask_rcnn_mambavision_t_ms-3x_coco',
    'retinanet_mambavision_t_coco',
    'rtmdet_mambavision_t_coco',
    'solov2_mambavision_t_coco',
)
SEGMENTORS = (
    'deeplabv3plus_mambavision_t_ade20k',
    'deeplabv3plus_mambavision_t_voc12',
    'fcn_mambavision_t_ade20k',
    'mask2former_mambavision_t_ade20k',
    'pspnet_mambavision_t_ade20k',
    'segformer_mambavision_t_ade20k',
    'semantic_fpn_mambavision_t_ade20k',
    'upernet_mambavision_t_cityscapes',
)
NEIGHBOURS = DETECTORS + SEGMENTORS
STRONG = ('mask_rcnn_mambavision_t_strong_coco', 'upernet_mambavision_t_strong_ade20k')
MASKS = ('mask2former', 'mask_rcnn', 'solov2')  # methods that learn masks

ARCH = dict(dim=32, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))
CHANNELS = {80: 32, 160: 64, 320: 128, 640: 256}
# Layers, queries, points and samples: as few as the methods allow.
FEW = dict(num_queries=12, num_points=64, nms_pre=50, max_per_img=20, num_dn_queries=4, num_layers=2, stacked_convs=1,
           fc_out_channels=64, num_csp_blocks=1)


def load(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


def shrink(cfg):
    """The same config with a small backbone, few layers and queries, and a batch that is not padded."""
    def visit(node, key=''):
        if isinstance(node, dict):
            for k, v in node.items():
                node[k] = visit(v, k)
            return node
        if isinstance(node, list | tuple):
            return [visit(item, key) for item in node]
        if 'in_channels' in key:
            return CHANNELS.get(node, node)
        # `num_points` of a deformable attention stays: it has four a level.
        return min(node, FEW[key]) if key in FEW and isinstance(node, int) else node

    cfg = copy.deepcopy(cfg)
    cfg.model.backbone.update(arch=ARCH, window_size=(4, 2), drop_path_rate=0., init_cfg=None)
    visit(cfg.model)
    if cfg.model.type == 'SOLOv2':
        cfg.model.mask_head.update(feat_channels=64, num_grids=[8, 6, 4, 3, 2])
    cfg.model.data_preprocessor.pop('batch_augments', None)
    if 'size' in cfg.model.data_preprocessor:
        cfg.model.data_preprocessor.size = (64, 64)
    return cfg


def build(cfg):
    """The model in training mode, on one process."""
    from mmengine.model import revert_sync_batchnorm
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = revert_sync_batchnorm(MODELS.build(cfg.model))
        model.init_weights()
    return model.train()


def detection_batch(cfg, classes):
    """Two images with two objects each: boxes, masks and, for panoptic models, what lies around them."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData, PixelData
    panoptic = cfg.model.type == 'Mask2Former' and cfg.model.panoptic_head.num_stuff_classes > 0
    samples = []
    for i in range(2):
        boxes = torch.tensor([[4., 6., 30., 40.], [20., 10., 60., 50.]]) + i
        masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
        for mask, (x, y, right, bottom) in zip(masks, boxes.int().tolist()):
            mask[y:bottom, x:right] = 1
        sample = DetDataSample(metainfo=dict(
            img_shape=(64, 64), ori_shape=(64, 64), pad_shape=(64, 64), batch_input_shape=(64, 64), scale_factor=(1, 1),
            img_id=i))
        things = cfg.model.panoptic_head.num_things_classes if panoptic else classes
        sample.gt_instances = InstanceData(bboxes=boxes, labels=torch.tensor([i, things - 1]))
        if "'with_mask': True" in str(cfg.train_pipeline):
            sample.gt_instances.masks = BitmapMasks(masks.numpy(), 64, 64)
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        if panoptic:
            sample.gt_sem_seg = PixelData(sem_seg=torch.full((1, 64, 64), classes - 1))
        samples.append(sample)
    return dict(inputs=[torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in samples], data_samples=samples)


def segmentation_batch(classes):
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample
    samples = []
    for i in range(2):
        labels = torch.zeros(1, 64, 64, dtype=torch.long)
        labels[:, :, 20:] = i + 1
        labels[:, 40:] = classes - 1
        labels[:, :4] = 255
        samples.append(SegDataSample(
            gt_sem_seg=PixelData(data=labels), metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64))))
    return dict(inputs=[torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in samples], data_samples=samples)


def on_shapes(cfg, root):
    """The config with Shapes as its training data, and its classes in the heads."""
    segmentor, panoptic = cfg.default_scope == 'mmseg', 'panoptic' in str(cfg.train_dataloader)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('SHAPES_ROOT', str(root))
        shapes = load(f'{"upernet" if segmentor else "cascade_mask_rcnn"}_mambavision_t_shapes')
    dataset = shapes.train_dataloader.dataset
    for step in dataset.pipeline:
        if step.type == 'Resize':
            step.scale = (64, 64)
        if step.type == 'LoadAnnotations' and not segmentor:
            step.with_mask = "'with_mask': True" in str(cfg.train_pipeline)
    classes = 4 if segmentor else 3
    if panoptic:  # Shapes has no such files: its semantic maps stand for the stuff
        dataset.data_prefix.seg = 'semantic/train'
        dataset.metainfo = dict(classes=dataset.metainfo.classes, thing_classes=dataset.metainfo.classes,
                                stuff_classes=('background',))
        dataset.pipeline[1].update(with_seg=True, with_mask=True)
    cfg.train_dataloader.dataset = dataset
    for _, head, key in class_counts(cfg.model, 'model'):
        head[key] = int(panoptic) if key == 'num_stuff_classes' else classes
        if weights_of_classes(head) is not None:
            head.loss_cls.class_weight = [1.0] * (classes + panoptic) + [0.1]
    return cfg


def take(dataset, indices):
    """A batch of these samples; a panoptic one's semantic map marks the background, which is class 3 there."""
    items = [dataset[i] for i in indices]
    for item in items:
        if 'gt_sem_seg' in item['data_samples'] and 'gt_instances' in item['data_samples']:
            labels = item['data_samples'].gt_sem_seg.sem_seg
            item['data_samples'].gt_sem_seg.sem_seg = torch.where(labels == 0, 3, 0)
    return {key: [item[key] for item in items] for key in items[0]}
