"""The models that the COCO and ADE20K configs build, against the published recipes."""
import copy

import pytest
import torch
from mmengine.registry import MODELS
from torch.utils.flop_counter import FlopCounterMode

from mmvision_mamba.backbones import mixers

from ..helpers.published import DETECTORS, RECIPES, build, each, each_detector, each_segmentor, load


@each
def test_parameter_count(name):
    params = sum(parameter.numel() for parameter in build(name).parameters())
    assert params / 1e6 == pytest.approx(RECIPES[name].params, abs=0.1)


@pytest.fixture
def on_meta(monkeypatch):
    """Lets a backbone run on the meta device. The scan is never counted; attention products are `bmm`."""
    monkeypatch.setattr(mixers, 'selective_scan', lambda u, *args, **kwargs: u)
    monkeypatch.setattr(torch.nn.functional, 'scaled_dot_product_attention',
                        lambda q, k, v, attn_mask=None: q @ k.transpose(-2, -1) @ v)


def zeros(*shape):
    return torch.zeros(*shape, device='meta')


attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


@pytest.mark.parametrize('arch, gmacs', [('tiny', 4.46), ('small', 7.48), ('base', 14.96)])
def test_backbone_multiplications_at_224(arch, gmacs):
    """Without attention products and the scan, as in the published count."""
    model = MODELS.build(dict(type='MambaVision', arch=arch)).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 3, 224, 224))
    counts = counter.get_flop_counts()['Global']
    linear = {torch.ops.aten.addmm, torch.ops.aten.mm, getattr(torch.ops.mkldnn, '_linear_pointwise', None)}
    assert torch.ops.aten.convolution in counts and counts.keys() <= {torch.ops.aten.convolution, attention, *linear}
    assert (counter.get_total_flops() - counts.get(attention, 0)) / 2e9 == pytest.approx(gmacs, rel=0.01)


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
