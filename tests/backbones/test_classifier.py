"""Classifiers: the published logits and keys, timm's conventions, every argument, and weights that do or don't fit."""
import argparse
import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save
from timm.optim.optim_factory import param_groups_layer_decay  # its place in all versions from 1.0.3 on
from torch.utils.flop_counter import FlopCounterMode

from mmvision_mamba import MambaVision, create_model
from mmvision_mamba.backbones import FAMILY, MambaVisionClassifier
from mmvision_mamba.errors import CheckpointError, ConfigError

from ..data.golden.weights import array_for, fill, image
from ..helpers.hub_server import hub, use

GOLDEN = Path(__file__).parent.parent / 'data' / 'golden'
SMALL = dict(dim=16, depths=(1, 2, 3, 2), num_heads=(1, 1, 2, 4))
ARCH = dict(SMALL, in_dim=32)


def small(**options):
    return fill(create_model('mambavision_tiny', **{**SMALL, **options})).eval()


def pixels(*size, **options):
    return torch.from_numpy(image(*size, **options))


def test_logits_are_the_published_ones():
    logits = fill(create_model('mambavision_tiny')).eval()(pixels(2, 224, 224))
    np.testing.assert_allclose(logits.detach(), np.load(GOLDEN / 'logits_t_2x224x224.npz')['logits'], atol=1e-4, rtol=0)


def test_the_published_layout_gives_the_published_logits(tmp_path, monkeypatch):
    """By the name alone, from a repository whose weights are named as for transformers."""
    shapes = json.loads((GOLDEN / 'keys_t.json').read_text())
    with hub(tmp_path / 'served') as server:
        use(server, monkeypatch, tmp_path / 'home')
        server.add('nvidia/MambaVision-T-1K', {'config.json': b'{}', 'model.safetensors': save({
            f'model.{key}': torch.from_numpy(array_for(key, tuple(shape))) for key, shape in shapes.items()})})
        model = create_model('mambavision_tiny', pretrained=True).eval()
    expected = np.load(GOLDEN / 'logits_t_2x224x224.npz')['logits']
    np.testing.assert_allclose(model(pixels(2, 224, 224)).detach(), expected, atol=1e-4, rtol=0)


VARIANTS = dict(t='tiny', t2='tiny2', s='small', b='base', l='large', l2='large2', l3='large3')
# Parameters in millions (1000 classes) and billions of multiplications at 224 (large3: 256) pixels, as published.
PUBLISHED = dict(tiny=(31.79, 4.4), tiny2=(35.1, 5.1), small=(50.14, 7.5), base=(97.69, 15.0), large=(227.96, 34.9),
                 large2=(241.55, 37.5), large3=(739.57, 122.3))


@pytest.mark.parametrize(('short', 'variant'), VARIANTS.items())
def test_keys_and_parameters_are_the_published_ones(short, variant):
    published = json.loads((GOLDEN / f'keys_{short}.json').read_text())
    with torch.device('meta'):
        model = timm.create_model(f'mambavision_{variant}')
    assert {k: list(v.shape) for k, v in model.state_dict().items()} == published
    params, gmacs = PUBLISHED[variant]
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(params, abs=0.06)
    side = model.default_cfg['input_size'][-1]
    with FlopCounterMode(display=False) as counter:  # it does not look into the scan, a few in a hundred
        model.eval()(torch.empty(1, 3, side, side, device='meta'))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, rel=0.04)


def test_every_variant_is_timms():
    assert set(timm.list_models('mambavision*')) == {f'mambavision_{variant}' for variant in FAMILY}
    published = set(timm.list_pretrained('mambavision*'))
    assert len(published) == 11 and {'mambavision_tiny.in1k', 'mambavision_large3.in21k_512'} <= published


@pytest.mark.parametrize(('name', 'size', 'crop', 'mode', 'windows'), [
    ('tiny', 224, 1., 'center', (14, 7)), ('tiny2', 224, 0.98, 'center', (14, 7)),
    ('small', 224, 0.93, 'center', (14, 7)), ('base.in21k', 224, 1., 'center', (14, 7)),
    ('large3', 256, 1., 'center', (16, 8)), ('large2.in21k_512', 512, 0.93, 'squash', (32, 16)),
    ('large3.in21k_512', 512, 0.93, 'squash', (32, 16))])
def test_published_preprocessing_and_windows(name, size, crop, mode, windows):
    model = timm.create_model(f'mambavision_{name}', arch=ARCH)
    config = timm.data.resolve_model_data_config(model)
    assert config == dict(input_size=(3, size, size), interpolation='bicubic', mean=(0.485, 0.456, 0.406),
                          std=(0.229, 0.224, 0.225), crop_pct=crop, crop_mode=mode)
    assert tuple(level.window_size for level in model.levels[2:]) == windows
    if size == 224:
        x = timm.data.create_transform(**config)(_picture())
        assert x.shape == (3, 224, 224)


def _picture():
    from PIL import Image
    return Image.fromarray((np.random.default_rng(0).random((300, 250, 3)) * 255).astype(np.uint8))


# Arguments ---------------------------------------------------------------------------------------------------------

def test_logits_pooled_feature_and_multi_scale_features():
    x = pixels(2, 64, 96)
    model = small(num_classes=7)
    assert model(x).shape == (2, 7) and model.output_size((64, 96)) == (7,)
    pooled = small(num_classes=0)
    assert pooled(x).shape == (2, 128) and pooled.output_size((64, 96)) == (128,)
    assert 'head.weight' not in pooled.state_dict()
    torch.testing.assert_close(model.forward_head(model.forward_features(x), pre_logits=True), pooled(x))
    torch.testing.assert_close(model(x), model.head(pooled(x)))
    torch.testing.assert_close(pooled(x), pooled.forward_features(x).mean((2, 3)))
    maps = small(features_only=True)(x)
    backbone = fill(MambaVision(ARCH, norm_layer=None, window_padding='fit')).eval()
    assert [tuple(f.shape[1:]) for f in maps] == list(backbone.output_size((64, 96)))
    assert [tuple(f.shape[1:]) for f in maps] == [(16, 16, 24), (32, 8, 12), (64, 4, 6), (128, 2, 3)]


def test_features_only_are_the_backbones_maps():
    x, whole = pixels(1, 70, 100), small()
    expected = fill(MambaVision(ARCH, norm_layer=None)).eval()(x)
    for indices in ((0, 1, 2, 3), (1,), (0, 2), (-1,)):
        model = create_model('mambavision_tiny', features_only=True, out_indices=indices, **SMALL)
        model.model.load_state_dict(whole.state_dict(), strict=False)
        found = model.eval()(x)
        assert len(found) == len(indices)
        for i, feature in zip(indices, found):
            torch.testing.assert_close(feature, expected[i])
        assert model.feature_info.channels() == [16 * 2**(i % 4) for i in indices]
        assert model.feature_info.reduction() == [4 * 2**(i % 4) for i in indices]
        found[-1].sum().backward()
        assert all(p.grad is not None for p in model.parameters()), 'parameters that no output depends on'
    last, maps = whole.forward_intermediates(x, indices=2)
    torch.testing.assert_close(last, whole.forward_features(x))
    torch.testing.assert_close(maps, list(expected[2:]))


def test_the_seeds_arguments():
    model = create_model('mambavision_small', image_size=96, in_channels=5, dim=24, depths=[1, 1, 3, 1],
                         num_heads=[1, 1, 3, 2], mlp_ratio=2., dropout=0.4, d_state=3, d_conv=5, num_classes=6)
    assert model.default_cfg['input_size'] == (3, 96, 96)
    assert model.patch_embed.conv_down[0].weight.shape == (64, 5, 3, 3)  # the variant's own in_dim
    assert [len(level.blocks) for level in model.levels] == [1, 1, 3, 1]
    assert [level.window_size for level in model.levels[2:]] == [6, 3]
    block = model.levels[2].blocks[0]
    assert block.mlp.fc1.out_features == 2 * 96 and block.mixer.A_log.shape == (48, 3)
    assert block.mixer.conv1d_x.weight.shape[2] == 5
    assert model.levels[2].blocks[2].mixer.num_heads == 3
    assert model.levels[3].blocks[0].drop_path.drop_prob == pytest.approx(0.4)
    assert model(pixels(2, 96, 96, channels=5)).shape == (2, 6)


def test_the_backbones_name_of_a_variant_will_do():
    model = create_model('tiny', **SMALL)
    assert model.default_cfg['architecture'] == 'mambavision_tiny'


def test_windows():
    options = dict(image_size=64, **SMALL)
    for window_size, expected in ((None, (None, None)), (3, (3, 3)), ((4, 2), (4, 2))):
        model = create_model('mambavision_tiny', window_size=window_size, **options)
        assert tuple(level.window_size for level in model.levels[2:]) == expected


def test_drop_rate_and_global_pool():
    x = pixels(2, 64, 64)
    model = small(drop_rate=0.5, num_classes=0).train()
    model.requires_grad_(False)
    feature = model.forward_head(torch.ones(1, 128, 2, 2))
    assert set(feature.unique().tolist()) == {0., 2.}
    for pool, width in (('max', 128), ('catavgmax', 256)):
        model = small(global_pool=pool, num_classes=0)
        assert model(x).shape == (2, *model.output_size(64)) == (2, width)
    assert small(global_pool='', num_classes=0)(x).shape == (2, *small(global_pool='', num_classes=0).output_size(64))


def test_timms_conventions():
    model = small(num_classes=7)
    assert model.num_features == model.head_hidden_size == 128 and model.get_classifier() is model.head
    model.reset_classifier(3)
    assert model(pixels(1, 64, 64)).shape == (1, 3) and model.num_classes == 3
    model.set_grad_checkpointing()
    assert all(level.with_cp for level in model.levels)
    groups = param_groups_layer_decay(model, layer_decay=0.5)
    scales = {id(p): group['lr_scale'] for group in groups for p in group['params']}
    assert set(scales) == {id(p) for p in model.parameters()}
    blocks = [scales[id(level.blocks[0].norm1.weight)] for level in model.levels]
    assert scales[id(model.patch_embed.conv_down[0].weight)] < blocks[0] < blocks[1] < blocks[2] < blocks[3] < 1
    assert scales[id(model.head.weight)] == 1


@pytest.mark.parametrize('features_only', [False, True])
def test_it_exports(features_only):
    x, model = pixels(1, 64, 64), small(features_only=features_only)
    exported = torch.export.export(model, (x,), strict=False)
    torch.testing.assert_close(exported.module()(x), model(x), rtol=1e-4, atol=1e-4)
    assert not any('mmvision_mamba' in str(node.target) for node in exported.graph.nodes)


def test_fused_logits():
    model, x = small(), pixels(2, 64, 64)
    expected = model(x)
    torch.testing.assert_close(model.fuse()(x), expected, rtol=1e-4, atol=1e-4)


# Weights -----------------------------------------------------------------------------------------------------------

@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """A training checkpoint of the published kind, for 7 classes."""
    path = tmp_path_factory.mktemp('weights') / 'small.pth.tar'
    torch.save(dict(state_dict={f'module.{k}': v for k, v in small(num_classes=7).state_dict().items()},
                    args=argparse.Namespace(lr=1.), epoch=3), path)
    return path


@pytest.mark.parametrize('how', ['create_model', 'timm', 'file URL'])
def test_pretrained(how, weights):
    x = pixels(1, 64, 64)
    if how == 'timm':
        model = timm.create_model('mambavision_tiny', pretrained=True, arch=ARCH, num_classes=7,
                                  pretrained_cfg_overlay=dict(file=str(weights)))
    else:
        model = create_model('mambavision_tiny', pretrained=weights.as_uri() if how == 'file URL' else weights,
                             num_classes=7, **SMALL)
    torch.testing.assert_close(model.eval()(x), small(num_classes=7)(x))


def test_pretrained_true_is_downloaded_once_and_checked(weights, tmp_path, monkeypatch):
    """As safetensors where the repository has them; the names in it are those of the published classes."""
    state = {f'model.{key}': value.contiguous() for key, value in small(num_classes=7).state_dict().items()}
    with hub(tmp_path / 'served') as server:
        use(server, monkeypatch, tmp_path / 'home')
        server.add('nvidia/MambaVision-T-1K', {'model.safetensors': save(state), 'mambavision_tiny_1k.pth.tar': b''})
        server.add('nvidia/MambaVision-B-21K', {'mambavision_base_21k.pth.tar': weights.read_bytes()})
        for _ in range(2):
            model = create_model('mambavision_tiny', pretrained=True, num_classes=7, **SMALL)
        features = timm.create_model('mambavision_base.in21k', pretrained=True, features_only=True, arch=ARCH)
    assert server.downloads() == ['nvidia/MambaVision-T-1K/model.safetensors',
                                  'nvidia/MambaVision-B-21K/mambavision_base_21k.pth.tar']
    assert torch.equal(model.head.weight, small(num_classes=7).head.weight)
    assert torch.equal(features.model.levels[3].blocks[1].norm1.weight, small().levels[3].blocks[1].norm1.weight)


def test_offline(tmp_path, monkeypatch):
    use(None, monkeypatch, tmp_path / 'home', offline=True)
    with pytest.raises(CheckpointError, match=rf'mambavision_tiny_1k\S+ HF_HUB_OFFLINE is set.*cache, {tmp_path}/home'):
        timm.create_model('mambavision_tiny', pretrained=True)


@pytest.mark.parametrize('prefix', ['', 'model.', 'backbone.model.'])
def test_weights_of_other_classes_and_channels(weights, prefix, tmp_path, caplog):
    if prefix:  # as in the published repositories
        weights = tmp_path / 'prefixed.pth'
        torch.save({prefix + key: value for key, value in small(num_classes=7).state_dict().items()}, weights)
    with caplog.at_level(logging.WARNING, 'mmvision_mamba'):
        model = create_model('mambavision_tiny', pretrained=weights, num_classes=4, in_channels=1, **SMALL).eval()
    assert 'for 7 classes, this model\'s for 4' in caplog.text
    x = pixels(1, 64, 64, channels=1)
    # An image of one channel is to the adapted stem what it is, three times over, to the published one.
    expected = small(num_classes=0)(x.expand(1, 3, 64, 64))
    torch.testing.assert_close(model.forward_head(model.forward_features(x), pre_logits=True), expected,
                               rtol=1e-3, atol=1e-3)


def test_features_want_no_linear_layer(weights, caplog):
    with caplog.at_level(logging.WARNING, 'mmvision_mamba'):
        create_model('mambavision_tiny', pretrained=weights, features_only=True, **SMALL)
    assert not caplog.text


def test_weights_of_a_trained_classifier_and_for_a_backbone(weights, tmp_path):
    """tools/train.py's checkpoints name the backbone's part 'backbone.'; a classifier's file serves a backbone too."""
    state = small(num_classes=7).state_dict()
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(state_dict={k if k.startswith(('norm', 'head')) else f'backbone.{k}': v for k, v in state.items()},
                    meta={}), path)
    model = create_model('mambavision_tiny', pretrained=path, num_classes=7, **SMALL)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    for source in (path, weights):
        backbone = MambaVision(ARCH, init_cfg=dict(type='Pretrained', checkpoint=str(source)))
        backbone.init_weights()
        assert torch.equal(backbone.levels[2].blocks[0].mixer.A_log, state['levels.2.blocks.0.mixer.A_log'])


def test_weights_that_do_not_fit(weights, tmp_path):
    with pytest.raises(CheckpointError, match='does not fit'):
        create_model('mambavision_tiny', pretrained=weights)
    with torch.device('meta'):
        published = create_model('mambavision_small').state_dict()
    path = tmp_path / 'small.pth'
    torch.save({k: torch.zeros(v.shape, dtype=v.dtype) for k, v in published.items()}, path)
    with pytest.raises(CheckpointError, match="does not fit the backbone 'tiny'; this looks like 'small'"):
        create_model('mambavision_tiny', pretrained=path)
    with pytest.raises(CheckpointError, match='checkpoint not found: /nowhere'):
        create_model('mambavision_tiny', pretrained='/nowhere/weights.pth')


@pytest.mark.parametrize(('arguments', 'message'), [
    (dict(model_name='mambavision_tinny'), "did you mean 'mambavision_tiny'?"),
    (dict(model_name='resnet50'), 'valid ones: mambavision_tiny, mambavision_tiny2'),
    (dict(model_name='mambavision_tiny.in21k'), 'has no weights'),
    (dict(num_heads=(1, 1, 3, 4)), '3 heads do not divide the 64 channels of stage 3; the nearest number that does is'),
    (dict(depths=(1, 1, 2)), 'must have four values'), (dict(num_classes=-1), 'num_classes must be'),
    (dict(dropout=1.5), 'drop_path_rate must be in'), (dict(drop_rate=1.), 'drop_rate must be in'),
    (dict(out_indices=(1,)), 'features_only=True'), (dict(features_only=True, out_indices=(4,)), 'stages 0 to 3'),
    (dict(image_size=20), 'the image size must be a side of 32 pixels or more'),
    (dict(image_size=(0, 64)), 'got (0, 64)'), (dict(image_size=30000), 'at most 16384, got 30000'),
    (dict(num_classes=10**9), 'num_classes is 1000000000: a linear layer'), (dict(num_classes=True), 'got True'),
    (dict(drop_rate='a'), "got 'a'"),
    (dict(d_state=0), 'd_state'), (dict(dim=2.5), 'dim'), (dict(depths=(1, 1, -2, 1)), 'depths')])
def test_what_can_not_be(arguments, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        create_model(**{**dict(model_name='mambavision_tiny'), **SMALL, **arguments})


def test_unknown_arguments_raise():
    with pytest.raises(TypeError, match=r"no argument 'dropot' \(did you mean 'dropout'"):
        create_model('mambavision_tiny', dropot=0.1)
    with pytest.raises(TypeError, match='dropot'):
        timm.create_model('mambavision_tiny', dropot=0.1)
    with pytest.raises(TypeError, match='dropot'):
        MambaVisionClassifier(dropot=0.1)
