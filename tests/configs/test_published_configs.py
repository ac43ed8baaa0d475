"""The COCO and ADE20K configs against the published recipes, written down here a second time."""
import copy
import json
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from mmcv.transforms import Compose
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DATASETS, MODELS, DefaultScope
from torch.utils.flop_counter import FlopCounterMode

from mmvision_mamba.backbones import mambavision

CONFIGS = Path(__file__).parents[2] / 'configs'
HUB = 'https://huggingface.co/nvidia'


class Recipe(NamedTuple):
    arch: str
    dim: int
    window_size: tuple
    checkpoint: str
    lr: float
    params: float  # millions, of the whole model as built from these settings
    result: str  # a published number the file's head states
    window_padding: str = 'zeros'
    weight_decay: float = 0.05
    batch_size: int = 2
    crop: int = 512
    optim_wrapper: str = 'AmpOptimWrapper'


TINY = f'{HUB}/MambaVision-T-1K/resolve/main/mambavision_tiny_1k.pth.tar'
SMALL = f'{HUB}/MambaVision-S-1K/resolve/main/mambavision_small_1k.pth.tar'
BASE = f'{HUB}/MambaVision-B-1K/resolve/main/mambavision_base_1k.pth.tar'
LARGE3 = f'{HUB}/MambaVision-L3-512-21K/resolve/main/mambavision_L3_21k_740m_512.pth.tar'
DETECTORS = {
    'cascade_mask_rcnn_mambavision_t_coco': Recipe('tiny', 80, (112, 56), TINY, 1e-4, 89.20, 'box AP 51.1'),
    'cascade_mask_rcnn_mambavision_t_fit_coco': Recipe(
        'tiny', 80, (112, 56), TINY, 1e-4, 89.20, 'No published result', window_padding='fit'),
    'cascade_mask_rcnn_mambavision_s_coco': Recipe('small', 96, (112, 56), SMALL, 1e-4, 107.48, 'box AP 52.3'),
    'cascade_mask_rcnn_mambavision_b_coco': Recipe('base', 128, (112, 56), BASE, 2e-4, 154.89, 'box AP 52.8'),
}
SEGMENTORS = {
    'upernet_mambavision_t_ade20k': Recipe(
        'tiny', 80, (64, 32), TINY, 5e-5, 62.52, 'mIoU 46.0', weight_decay=0.01, batch_size=1),
    'upernet_mambavision_t_fit_ade20k': Recipe(
        'tiny', 80, (64, 32), TINY, 5e-5, 62.52, 'No published result', window_padding='fit', weight_decay=0.01,
        batch_size=1),
    'upernet_mambavision_s_ade20k': Recipe(
        'small', 96, (160, 56), SMALL, 6e-5, 81.79, 'mIoU 48.2', weight_decay=0.01, batch_size=2),
    'upernet_mambavision_b_ade20k': Recipe(
        'base', 128, (64, 32), BASE, 5e-5, 131.20, 'mIoU 49.1', weight_decay=0.01, batch_size=1),
    'upernet_mambavision_l3_ade20k-640x640': Recipe(
        'large3', 256, (64, 32), LARGE3, 8e-5, 780.51, 'mIoU 53.2', batch_size=1, crop=640,
        optim_wrapper='OptimWrapper'),
}
RECIPES = DETECTORS | SEGMENTORS
each = pytest.mark.parametrize('name', RECIPES)
each_detector = pytest.mark.parametrize('name', DETECTORS)
each_segmentor = pytest.mark.parametrize('name', SEGMENTORS)


def read(name):
    return Config.fromfile(CONFIGS / f'{name}.py')


load = cache(read)  # for tests that only look


@cache
def build(name):
    """The whole model without its weights."""
    cfg = load(name)
    with DefaultScope.overwrite_default_scope(cfg.default_scope), torch.device('meta'):
        return MODELS.build(cfg.model)


def strings(node):
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        return [text for child in node for text in strings(child)]
    return [node] if isinstance(node, str) else []


def steps(pipeline, kind):
    """All transforms of a type, in order, wherever they are nested."""
    if isinstance(pipeline, (list, tuple)):
        return [step for child in pipeline for step in steps(child, kind)]
    found = [pipeline] if pipeline['type'] == kind else []
    return found + steps(pipeline.get('transforms', []), kind)


def values(step):
    return {key: value for key, value in step.items() if key != 'type'}


# --- the files ---------------------------------------------------------------------------------------------------

def test_no_published_config_is_left_out():
    named = {path.stem for data in ('coco', 'ade20k') for path in CONFIGS.glob(f'*_{data}*.py')}
    assert named == set(RECIPES)


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*.py')), ids=lambda path: path.stem)
def test_every_leaf_resolves(path):
    cfg = Config.fromfile(path)
    assert cfg.default_scope in ('mmdet', 'mmseg')
    assert cfg.custom_imports.imports == ['mmvision_mamba']
    assert cfg.model.backbone.type == 'MambaVision'
    assert MODELS.get('MambaVision') is not None
    again = Config.fromstring(cfg.pretty_text, '.py')
    assert again.to_dict() == cfg.to_dict()


@each
def test_head_states_what_the_config_aims_at(name):
    lines = (CONFIGS / f'{name}.py').read_text().splitlines()
    head = lines[:next(i for i, line in enumerate(lines) if not line.startswith('#'))]
    assert RECIPES[name].result in '\n'.join(head)
    assert len(lines) < 40


@each
def test_one_variable_moves_all_data(name, monkeypatch):
    variable, default = ('COCO_ROOT', 'data/coco') if name in DETECTORS else ('ADE20K_ROOT', 'data/ade')
    monkeypatch.delenv(variable, raising=False)
    at_default = strings(read(name).to_dict())
    monkeypatch.setenv(variable, '/mnt/all data/set')
    moved = strings(read(name).to_dict())
    assert moved == [re.sub(f'^{default}(?=/|$)', '/mnt/all data/set', text) for text in at_default]
    assert sum(text.startswith('/mnt/all data/set') for text in moved) >= 4
    assert not any(default in text for text in moved)


# --- the models --------------------------------------------------------------------------------------------------

@each
def test_parameter_count(name):
    params = sum(parameter.numel() for parameter in build(name).parameters())
    assert params / 1e6 == pytest.approx(RECIPES[name].params, abs=0.1)


@pytest.fixture
def on_meta(monkeypatch):
    """Lets a backbone run on the meta device. The scan is never counted; attention products are `bmm`."""
    monkeypatch.setattr(mambavision, 'selective_scan', lambda u, *args, **kwargs: u)
    monkeypatch.setattr(torch.nn.functional, 'scaled_dot_product_attention',
                        lambda q, k, v, attn_mask=None: q @ k.transpose(-2, -1) @ v)


def zeros(*shape):
    return torch.zeros(*shape, device='meta')


@pytest.mark.parametrize('arch, gmacs', [('tiny', 4.46), ('small', 7.48), ('base', 14.96)])
def test_backbone_multiplications_at_224(arch, gmacs, on_meta):
    """Without attention products, as in the published count."""
    with torch.device('meta'):
        model = MODELS.build(dict(type='MambaVision', arch=arch)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(zeros(1, 3, 224, 224))
    attention = counter.get_flop_counts()['Global'][torch.ops.aten.bmm]
    assert (counter.get_total_flops() - attention) / 2e9 == pytest.approx(gmacs, rel=0.01)


GMACS = {
    'cascade_mask_rcnn_mambavision_t_coco': (1284, 635),
    'cascade_mask_rcnn_mambavision_t_fit_coco': (783, 135),
    'cascade_mask_rcnn_mambavision_s_coco': (1359, 710),
    'cascade_mask_rcnn_mambavision_b_coco': (2170, 1520),
    'upernet_mambavision_t_ade20k': (1084, 240),
    'upernet_mambavision_t_fit_ade20k': (960, 116),
    'upernet_mambavision_s_ade20k': (2982, 2137),
    'upernet_mambavision_b_ade20k': (1518, 670),
    'upernet_mambavision_l3_ade20k-640x640': (4967, 4106),
}


@each
def test_multiplications(name, on_meta):
    """The counts of docs/recipes.md: the whole model's, and the backbone's part."""
    model = copy.deepcopy(build(name)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        if name in DETECTORS:
            features = model.backbone(zeros(1, 3, 800, 1280))
            backbone = counter.get_total_flops()
            model.rpn_head(model.neck(features))
            for box_head, mask_head in zip(model.roi_head.bbox_head, model.roi_head.mask_head):
                box_head(zeros(1000, 256, 7, 7))
                mask_head(zeros(100, 256, 14, 14))
        else:
            features = model.backbone(zeros(1, 3, 512, 2048))
            backbone = counter.get_total_flops()
            model.decode_head(features)
    assert [counter.get_total_flops() / 2e9, backbone / 2e9] == pytest.approx(GMACS[name], abs=0.6)


@each
def test_backbone(name):
    recipe, backbone = RECIPES[name], load(name).model.backbone
    assert backbone == dict(
        type='MambaVision', arch=recipe.arch, window_size=recipe.window_size, window_padding=recipe.window_padding,
        drop_path_rate=0.2, init_cfg=dict(type='Pretrained', checkpoint=recipe.checkpoint))
    assert all(parameter.requires_grad for parameter in build(name).parameters())


@each
def test_images_are_normalised_rgb(name):
    preprocessor = load(name).model.data_preprocessor
    assert preprocessor.bgr_to_rgb
    assert preprocessor.mean == [123.675, 116.28, 103.53]
    assert preprocessor['std'] == [58.395, 57.12, 57.375]


@each_detector
def test_detector_as_built(name):
    model = build(name)
    assert model.neck.in_channels == [RECIPES[name].dim * 2**i for i in range(4)]
    assert (model.neck.num_outs, model.neck.add_extra_convs) == (5, False)
    assert not any('Norm' in type(module).__name__ for module in model.neck.modules())

    rpn, cfg = model.rpn_head, model.rpn_head.train_cfg
    assert rpn.prior_generator.scales.shape == (1,)
    assert load(name).model.rpn_head.anchor_generator.scales == [8]
    assert load(name).model.rpn_head.anchor_generator.ratios == [0.5, 1.0, 2.0]
    assert [stride[0] for stride in rpn.prior_generator.strides] == [4, 8, 16, 32, 64]
    assert rpn.loss_bbox.beta == pytest.approx(1 / 9)
    assert list(rpn.bbox_coder.stds) == [1, 1, 1, 1]
    assert rpn.loss_cls.use_sigmoid
    assert (cfg.assigner.pos_iou_thr, cfg.assigner.neg_iou_thr, cfg.assigner.min_pos_iou) == (0.7, 0.3, 0.3)
    assert cfg.assigner.match_low_quality
    assert (cfg.sampler.num, cfg.sampler.pos_fraction) == (256, 0.5)
    for proposals, count in ((model.train_cfg.rpn_proposal, 2000), (model.test_cfg.rpn, 1000)):
        assert (proposals.nms_pre, proposals.max_per_img, proposals.nms.iou_threshold) == (count, count, 0.7)

    roi = model.roi_head
    assert roi.stage_loss_weights == [1, 0.5, 0.25]
    assert [assigner.pos_iou_thr for assigner in roi.bbox_assigner] == [0.5, 0.6, 0.7]
    assert [assigner.neg_iou_thr for assigner in roi.bbox_assigner] == [0.5, 0.6, 0.7]
    assert not any(assigner.match_low_quality for assigner in roi.bbox_assigner)
    for sampler in roi.bbox_sampler:
        assert (sampler.num, sampler.pos_fraction, sampler.add_gt_as_proposals) == (512, 0.25, True)
    assert [list(head.bbox_coder.stds) for head in roi.bbox_head] == [
        [0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067]]
    for head in roi.bbox_head:
        assert (len(head.shared_convs), len(head.shared_fcs), head.fc_cls.out_features) == (4, 1, 81)
        assert (head.reg_class_agnostic, head.reg_decoded_bbox, head.fc_reg.out_features) == (False, True, 320)
        assert (type(head.loss_bbox).__name__, head.loss_bbox.loss_weight) == ('GIoULoss', 10)
        assert all(isinstance(conv.bn, torch.nn.SyncBatchNorm) for conv in head.shared_convs)
    for extractors, size in ((roi.bbox_roi_extractor, 7), (roi.mask_roi_extractor, 14)):
        for extractor in extractors:
            assert extractor.finest_scale == 56
            assert [1 / layer.spatial_scale for layer in extractor.roi_layers] == [4, 8, 16, 32]
            assert {(*layer.output_size, layer.sampling_ratio) for layer in extractor.roi_layers} == {(size, size, 0)}
    for head in roi.mask_head:
        assert (len(head.convs), head.conv_logits.out_channels, head.class_agnostic) == (4, 80, False)
        assert not any(conv.with_norm for conv in head.convs)
    assert all(stage.mask_size == 28 for stage in roi.train_cfg)
    test_cfg = roi.test_cfg
    assert (test_cfg.score_thr, test_cfg.nms.iou_threshold, test_cfg.max_per_img, test_cfg.mask_thr_binary) == (
        0.05, 0.5, 100, 0.5)


@each_segmentor
def test_segmentor_as_built(name):
    recipe, model = RECIPES[name], build(name)
    channels = [recipe.dim * 2**i for i in range(4)]
    decode, auxiliary = model.decode_head, model.auxiliary_head
    assert (type(decode).__name__, decode.in_channels, decode.channels) == ('UPerHead', channels, 512)
    assert decode.psp_modules.pool_scales == (1, 2, 3, 6)
    assert (type(auxiliary).__name__, auxiliary.in_channels, auxiliary.channels) == ('FCNHead', channels[2], 256)
    assert (auxiliary.in_index, auxiliary.num_convs, auxiliary.concat_input) == (2, 1, False)
    assert [tuple(conv.conv.kernel_size) for conv in auxiliary.convs] == [(3, 3)]
    for head, weight in ((decode, 1.0), (auxiliary, 0.4)):
        assert (head.num_classes, head.dropout_ratio, head.align_corners, head.ignore_index) == (150, 0.1, False, 255)
        assert (type(head.loss_decode).__name__, head.loss_decode.loss_weight) == ('CrossEntropyLoss', weight)
        assert head.init_cfg == dict(type='Normal', std=0.01, override=dict(name='conv_seg'))
        norms = [module for module in head.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
        assert norms and all(isinstance(norm, torch.nn.SyncBatchNorm) for norm in norms)
    assert model.test_cfg == dict(mode='whole')
    preprocessor = model.data_preprocessor
    assert preprocessor.size == (recipe.crop, recipe.crop)
    assert (preprocessor.pad_val, preprocessor.seg_pad_val, preprocessor.test_cfg) == (0, 255, None)


# --- the schedules -----------------------------------------------------------------------------------------------

@each
def test_optimiser(name):
    recipe, cfg = RECIPES[name], load(name)
    assert cfg.optim_wrapper.type == recipe.optim_wrapper
    # The wrapper's defaults: float16, dynamic loss scale, nothing clipped or accumulated.
    assert set(cfg.optim_wrapper) == {'type', 'optimizer', 'paramwise_cfg'}
    assert cfg.optim_wrapper.optimizer == dict(
        type='AdamW', lr=recipe.lr, betas=(0.9, 0.999), weight_decay=recipe.weight_decay)
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=16)
    assert 'custom_hooks' not in cfg


@each
def test_only_norms_by_name_are_not_decayed(name):
    model = build(name)
    optim_wrapper = dict(load(name).optim_wrapper, type='OptimWrapper')  # the AMP wrapper wants a GPU
    groups = build_optim_wrapper(model, optim_wrapper).optimizer.param_groups
    decay = {id(parameter): group['weight_decay'] for group in groups for parameter in group['params']}
    names = dict(model.named_parameters())
    assert len(decay) == len(names)
    spared = re.compile(r'backbone\.(levels\.\d\.blocks\.\d+\.norm[12]|outnorm\d)\.(weight|bias)')
    expected = {key: 0. if spared.fullmatch(key) else RECIPES[name].weight_decay for key in names}
    assert {key: decay[id(parameter)] for key, parameter in names.items()} == expected
    assert 0. in expected.values()


@each_detector
def test_detection_schedule(name):
    cfg = load(name)
    assert cfg.train_cfg == dict(type='EpochBasedTrainLoop', max_epochs=36, val_interval=1)
    assert cfg.param_scheduler == [
        dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
        dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[27, 33], gamma=0.1)]
    assert cfg.default_hooks.checkpoint == dict(
        type='CheckpointHook', interval=1, save_best='coco/bbox_mAP', max_keep_ckpts=2)
    assert not cfg.env_cfg.cudnn_benchmark


@each_segmentor
def test_segmentation_schedule(name):
    cfg = load(name)
    assert cfg.train_cfg == dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
    assert cfg.param_scheduler == [
        dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
        dict(type='PolyLR', power=1.0, eta_min=0., by_epoch=False, begin=1500, end=160000)]
    assert cfg.default_hooks.checkpoint == dict(
        type='CheckpointHook', by_epoch=False, interval=16000, save_best='mIoU', max_keep_ckpts=2)
    assert not cfg.log_processor.by_epoch
    assert cfg.env_cfg.cudnn_benchmark


# --- the data ----------------------------------------------------------------------------------------------------

@each
def test_dataloaders(name):
    recipe, cfg = RECIPES[name], load(name)
    detector = name in DETECTORS
    train, val = cfg.train_dataloader, cfg.val_dataloader
    assert train.batch_size == recipe.batch_size
    assert train.sampler == dict(type='DefaultSampler' if detector else 'InfiniteSampler', shuffle=True)
    assert train.get('batch_sampler') == (dict(type='AspectRatioBatchSampler') if detector else None)
    assert (val.batch_size, val.sampler) == (1, dict(type='DefaultSampler', shuffle=False))
    for loader in (train, val):
        assert (loader.num_workers, loader.persistent_workers) == (2 if detector else 4, True)
    assert cfg.test_dataloader == val
    assert cfg.val_evaluator == cfg.test_evaluator
    assert cfg.val_evaluator.get('metric', cfg.val_evaluator.get('iou_metrics')) == (
        ['bbox', 'segm'] if detector else ['mIoU'])
    assert train.dataset.pipeline == cfg.train_pipeline
    assert val.dataset.pipeline == cfg.test_pipeline


@each_detector
def test_detection_augmentation(name):
    cfg = load(name)
    flip, = steps(cfg.train_pipeline, 'RandomFlip')
    assert values(flip) == dict(prob=0.5)
    choice, = steps(cfg.train_pipeline, 'RandomChoice')
    assert 'prob' not in choice  # equal odds
    whole, cropped = choice.transforms
    a = dict(scales=[(side, 1333) for side in (480, 512, 544, 576, 608, 640, 672, 704, 736, 768, 800)], keep_ratio=True)
    b = dict(scales=[(400, 1333), (500, 1333), (600, 1333)], keep_ratio=True)
    crop = dict(crop_type='absolute_range', crop_size=(384, 600), allow_negative_crop=True)
    assert [(step.type, values(step)) for step in whole] == [('RandomChoiceResize', a)]
    assert [(step.type, values(step)) for step in cropped] == [
        ('RandomChoiceResize', b), ('RandomCrop', crop), ('RandomChoiceResize', a)]
    resize, = steps(cfg.test_pipeline, 'Resize')
    assert values(resize) == dict(scale=(1333, 800), keep_ratio=True)


@each_segmentor
def test_segmentation_augmentation(name):
    cfg, crop = load(name), RECIPES[name].crop
    scale = (2560, 640) if crop == 640 else (2048, 512)
    assert [(step.type, values(step)) for step in cfg.train_pipeline] == [
        ('LoadImageFromFile', {}),
        ('LoadAnnotations', dict(reduce_zero_label=True)),
        ('RandomResize', dict(scale=scale, ratio_range=(0.5, 2.0), keep_ratio=True)),
        ('RandomCrop', dict(crop_size=(crop, crop), cat_max_ratio=0.75)),
        ('RandomFlip', dict(prob=0.5)),
        ('PhotoMetricDistortion', {}),
        ('PackSegInputs', {}),
    ]
    resize, = steps(cfg.test_pipeline, 'Resize')
    assert values(resize) == dict(scale=scale, keep_ratio=True)
    assert [step.scale_factor for step in steps(cfg.tta_pipeline, 'Resize')] == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]


SIZES = [(90, 120), (120, 90), (100, 100), (31, 80)]  # height, width; the last is too small to train on


@pytest.fixture(scope='module')
def coco_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('coco')
    rng = np.random.default_rng(0)
    categories = [dict(id=i, name=name) for i, name in enumerate(CocoDataset.METAINFO['classes'], start=1)]
    (root / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        (root / split).mkdir()
        images, annotations = [], []
        # The last image holds nothing.
        for i, (height, width) in enumerate([*SIZES, (90, 120)], start=1):
            cv2.imwrite(str(root / split / f'{i}.jpg'), rng.integers(0, 256, (height, width, 3), np.uint8))
            images.append(dict(id=i, file_name=f'{i}.jpg', height=height, width=width))
            if i <= len(SIZES):
                x, y, w, h = 10, 5, 40, 20
                annotations.append(dict(
                    id=i, image_id=i, category_id=17, bbox=[x, y, w, h], area=w * h, iscrowd=0,
                    segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]]))
        (root / 'annotations' / f'instances_{split}.json').write_text(json.dumps(dict(
            images=images, annotations=annotations, categories=categories)))
    return root


@pytest.fixture(scope='module')
def ade_root(tmp_path_factory):
    root = tmp_path_factory.mktemp('ade')
    rng = np.random.default_rng(0)
    for split in ('training', 'validation'):
        images, maps = (root / 'ADEChallengeData2016' / kind / split for kind in ('images', 'annotations'))
        images.mkdir(parents=True)
        maps.mkdir(parents=True)
        for i, (height, width) in enumerate(SIZES):
            cv2.imwrite(str(images / f'{i}.jpg'), rng.integers(0, 256, (height, width, 3), np.uint8))
            # A third unlabelled (0), the rest classes 1 and 150.
            labels = np.repeat([0, 1, 150], -(-width // 3))[:width]
            cv2.imwrite(str(maps / f'{i}.png'), np.tile(labels, (height, 1)).astype(np.uint8))
    return root


def test_detection_data_run_through_the_pipelines(coco_root, monkeypatch):
    monkeypatch.setenv('COCO_ROOT', str(coco_root))
    cfg = read('cascade_mask_rcnn_mambavision_t_coco')
    np.random.seed(0)
    with DefaultScope.overwrite_default_scope('mmdet'):
        train = DATASETS.build(cfg.train_dataloader.dataset)
        val = DATASETS.build(cfg.test_dataloader.dataset)
        preprocessor = MODELS.build(cfg.model.data_preprocessor)
    assert len(train) == 3  # neither the small one nor the empty one
    assert len(val) == 5

    areas = []
    for i in [0, 1, 2] * 8:
        sample = train[i]
        image, truth = sample['inputs'], sample['data_samples'].gt_instances
        height, width = image.shape[1:]
        assert image.dtype == torch.uint8
        assert max(height, width) <= 1333
        assert min(height, width) in range(480, 801, 32) or max(height, width) == 1333
        assert truth.masks.masks.shape[1:] == (height, width)
        assert set(truth.labels.tolist()) <= {16}  # dog
        areas.append(height / width)
    assert len({round(ratio, 2) for ratio in areas}) > 4  # crops of many shapes, not the images' three alone

    samples = [train[0], train[1]]
    batch = preprocessor(
        {key: [sample[key] for sample in samples] for key in ('inputs', 'data_samples')}, training=True)
    assert batch['inputs'].dtype == torch.float32
    assert all(side % 32 == 0 for side in batch['inputs'].shape[2:])
    for sample in batch['data_samples']:
        assert sample.gt_instances.masks.masks.shape[1:] == batch['inputs'].shape[2:]

    sample = val[0]
    assert sample['inputs'].shape == (3, 800, 1067)
    assert sample['data_samples'].ori_shape == (90, 120)
    np.testing.assert_array_equal(sample['data_samples'].gt_instances.bboxes.tensor, [[10, 5, 50, 25]])
    padded = preprocessor(dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]))
    assert padded['inputs'].shape == (1, 3, 800, 1088)
    assert not padded['inputs'][..., 1067:].any()  # zero after normalisation
    red = (sample['inputs'][2, 400, 500] - 123.675) / 58.395
    assert padded['inputs'][0, 0, 400, 500] == pytest.approx(float(red), abs=1e-4)


@pytest.mark.parametrize('name', ['upernet_mambavision_t_ade20k', 'upernet_mambavision_l3_ade20k-640x640'])
def test_segmentation_data_run_through_the_pipelines(name, ade_root, monkeypatch):
    monkeypatch.setenv('ADE20K_ROOT', str(ade_root))
    cfg, crop = read(name), RECIPES[name].crop
    np.random.seed(0)
    with DefaultScope.overwrite_default_scope('mmseg'):
        train = DATASETS.build(cfg.train_dataloader.dataset)
        val = DATASETS.build(cfg.test_dataloader.dataset)
        preprocessor = MODELS.build(cfg.model.data_preprocessor)
        views = Compose(cfg.tta_pipeline)
    assert (len(train), len(val), len(val.METAINFO['classes'])) == (4, 4, 150)

    smaller = 0
    for i in [0, 1, 2] * 2:
        sample = train[i]
        height, width = sample['inputs'].shape[1:]
        assert sample['inputs'].dtype == torch.uint8
        assert max(height, width) <= crop
        assert set(sample['data_samples'].gt_sem_seg.data.unique().tolist()) <= {0, 149, 255}
        smaller += min(height, width) < crop
        batch = preprocessor(dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]), training=True)
        assert batch['inputs'].dtype == torch.float32
        assert batch['inputs'].shape == (1, 3, crop, crop)
        truth = batch['data_samples'][0].gt_sem_seg.data
        assert truth.shape == (1, crop, crop)
        assert (truth[:, height:] == 255).all() and (truth[..., width:] == 255).all()
        assert not batch['inputs'][:, :, height:].any() and not batch['inputs'][..., width:].any()
    assert 0 < smaller < 6  # some crops had to be padded, some not

    sample = val[0]
    assert sample['inputs'].shape == (3, crop, round(crop * 120 / 90))
    assert sample['data_samples'].gt_sem_seg.data.shape == (1, 90, 120)
    assert sample['data_samples'].gt_sem_seg.data[0, 0, [0, 60, 119]].tolist() == [255, 0, 149]
    whole = preprocessor(dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']]))
    assert whole['inputs'].shape == (1, *sample['inputs'].shape)  # no padding

    augmented = views(val.get_data_info(0))
    assert [tuple(image.shape[1:]) for image in augmented['inputs'][::2]] == [
        (45, 60), (68, 90), (90, 120), (113, 150), (135, 180), (158, 210)]
    assert [bool(sample.flip) for sample in augmented['data_samples']] == [False, True] * 6
