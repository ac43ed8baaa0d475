"""One training step of transformers' detectors and segmentors on the backbone, and their checkpoints."""
import pytest
import torch

pytest.importorskip('transformers')
pytest.importorskip('scipy')

import transformers

from mmvision_mamba.transformers import MambaVisionBackbone, MambaVisionConfig

from ..data.golden.weights import image
from ..helpers.small_models import SMALL

WITHOUT_TIMM = dict(use_timm_backbone=False, use_pretrained_backbone=False)


def backbone(*stages):
    return MambaVisionConfig(**SMALL, drop_path_rate=0., out_features=[f'stage{i}' for i in stages])


def upernet():
    config = transformers.UperNetConfig(backbone_config=backbone(1, 2, 3, 4), hidden_size=16, num_labels=4,
                                        auxiliary_in_channels=64, auxiliary_channels=16, use_auxiliary_head=True)
    return transformers.UperNetForSemanticSegmentation(config), dict(labels=torch.randint(0, 4, (2, 64, 64)))


def mask2former():
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone(1, 2, 3, 4), feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_layers=1,
        decoder_layers=2, num_attention_heads=2, dim_feedforward=16, encoder_feedforward_dim=16, num_queries=5,
        train_num_points=16, num_labels=4)
    return transformers.Mask2FormerForUniversalSegmentation(config), dict(
        mask_labels=[torch.randint(0, 2, (2, 64, 64)).float() for _ in range(2)],
        class_labels=[torch.tensor([0, 2]) for _ in range(2)])


def boxes():
    return dict(labels=[dict(class_labels=torch.tensor([0, 1]), boxes=torch.rand(2, 4) * 0.3 + 0.2) for _ in range(2)])


def detr():
    config = transformers.DetrConfig(
        backbone_config=backbone(4), **WITHOUT_TIMM, backbone=None, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_queries=5,
        num_labels=3)
    return transformers.DetrForObjectDetection(config), boxes()


def rt_detr():
    config = transformers.RTDetrConfig(
        backbone_config=backbone(2, 3, 4), encoder_in_channels=[32, 64, 128], encoder_hidden_dim=16, encoder_layers=1,
        d_model=16, num_queries=5, decoder_layers=2, decoder_ffn_dim=16, encoder_ffn_dim=16, num_denoising=4,
        decoder_attention_heads=2, encoder_attention_heads=2, decoder_in_channels=[16, 16, 16], num_labels=3)
    return transformers.RTDetrForObjectDetection(config), boxes()


@pytest.mark.parametrize('build', [upernet, mask2former, detr, rt_detr], ids=lambda build: build.__name__)
def test_a_training_step_and_its_checkpoint(build, tmp_path):
    torch.manual_seed(0)
    model, targets = build()
    found, = (module for module in model.modules() if isinstance(module, MambaVisionBackbone))
    x = torch.from_numpy(image(2, 64, 64))
    before = {name: value.clone() for name, value in found.named_parameters()}
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2)
    loss = model.train()(pixel_values=x, **targets).loss
    loss.backward()
    optimizer.step()
    assert torch.isfinite(loss)
    after = dict(found.named_parameters())
    still = {name for name, value in before.items() if torch.equal(value, after[name]) and after[name].requires_grad}
    assert not still
    model.save_pretrained(tmp_path)
    again, report = type(model).from_pretrained(tmp_path, output_loading_info=True)
    assert not report['missing_keys'] and not report['unexpected_keys']
    state = again.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())


def test_gradient_checkpointing_of_the_whole_reaches_the_backbone():
    model, targets = detr()
    if not model.supports_gradient_checkpointing:
        pytest.skip('this DETR does without')
    model.gradient_checkpointing_enable()
    found, = (module for module in model.modules() if isinstance(module, MambaVisionBackbone))
    assert all(level.with_cp for level in found.model.levels)
    model(pixel_values=torch.from_numpy(image(2, 64, 64)), **targets).loss.backward()
