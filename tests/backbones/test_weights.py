"""Weights into a backbone: the published files' wrappings, what may be missing, and no half-load."""
import argparse
import logging

import pytest
import torch
from mmengine.logging import MMLogger

from mmvision_mamba import MambaVision, MM_mamba_vision
from mmvision_mamba.backbones.weights import check_fit, load_pretrained
from mmvision_mamba.errors import CheckpointError, ConfigError

from ..data.golden.weights import fill
from ..helpers.fresh_start import forget_earlier_runs
from ..helpers.small_models import SMALL, imagenet_state

WRAPPINGS = {
    'state_dict': lambda s: dict(state_dict=s, epoch=3, optimizer=dict(state={}), args=argparse.Namespace(lr=1.)),
    'model': lambda s: dict(model=s, args=argparse.Namespace(lr=1.)),
    'bare': lambda s: s,
    'module': lambda s: dict(state_dict={f'module.{k}': v for k, v in s.items()}),
    'encoder': lambda s: dict(state_dict={f'encoder.{k}': v for k, v in s.items()} | {'zzz': torch.zeros(1)}),
    'detector': lambda s: dict(state_dict={f'backbone.{k}': v for k, v in s.items()} | {'neck.w': torch.zeros(1)}),
}


@pytest.mark.parametrize('wrapping', WRAPPINGS)
def test_every_wrapping(wrapping, tmp_path, caplog):
    path = tmp_path / 'weights.pth.tar'
    torch.save(WRAPPINGS[wrapping](imagenet_state()), path)
    model = MambaVision(SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    forget_earlier_runs()  # and the levels of their loggers
    logger = MMLogger.get_current_instance()  # which keeps its lines from caplog's own handler, the root's
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO):
            model.init_weights()
    finally:
        logger.removeHandler(caplog.handler)
    expected = fill(MambaVision(SMALL)).state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(value, expected[key]) != key.startswith('outnorm') or key.endswith('.num_batches_tracked')
    report = caplog.text
    assert 'kept as initialised: outnorm0.bias' in report and 'dropped: head.bias, head.weight, norm.' in report


def test_a_detectors_file_brings_its_outnorm(tmp_path):
    path = tmp_path / 'detector.pth'
    torch.save(dict(state_dict={f'backbone.{k}': v for k, v in fill(MambaVision(SMALL)).state_dict().items()}), path)
    model = MambaVision(SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(path), prefix='backbone.'))
    model.init_weights()
    assert torch.equal(model.outnorm2.weight, fill(MambaVision(SMALL)).outnorm2.weight)
    model.init_cfg['prefix'] = 'neck'
    model.is_init = False
    with pytest.raises(CheckpointError, match=r"begins with 'neck.'; they begin with backbone"):
        model.init_weights()


def test_reference_name_loads_at_construction(tmp_path):
    torch.save(imagenet_state(), tmp_path / 'w.pth')
    arguments = dict(window_size=(8, 8, 4, 2), mlp_ratio=4, **SMALL)
    model = MM_mamba_vision(**arguments, pretrained=str(tmp_path / 'w.pth'))
    assert torch.equal(model.patch_embed.conv_down[0].weight, fill(MambaVision(SMALL)).patch_embed.conv_down[0].weight)
    with pytest.raises(CheckpointError, match=r'not found: /ckpts/none\.pth'):
        MM_mamba_vision(**arguments, pretrained='/ckpts/none.pth')


def test_init_cfg_as_mmengine_allows_it(tmp_path):
    """With map_location, in a list; what it hasn't is not passed over."""
    torch.save(imagenet_state(), tmp_path / 'w.pth')
    given = dict(type='Pretrained', checkpoint=str(tmp_path / 'w.pth'), map_location='cpu')
    expected = fill(MambaVision(SMALL)).patch_embed.conv_down[0].weight
    for init_cfg in (given, [given]):
        model = MambaVision(SMALL, init_cfg=init_cfg)
        model.init_weights()
        assert torch.equal(model.patch_embed.conv_down[0].weight, expected)
    for wrong, message in (
            (dict(given, prefx='backbone.'), r"init_cfg has no key 'prefx' \(did you mean 'prefix'\?\)"),
            (dict(type='Pretrained'), 'needs checkpoint=PATH_OR_URL')):
        with pytest.raises(ConfigError, match=message):
            MambaVision(SMALL, init_cfg=wrong).init_weights()
    with pytest.raises(CheckpointError, match='torchvision://resnet50: checkpoints are read from files, http'):
        MambaVision(SMALL, init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')).init_weights()


def test_stages_left_out_are_dropped(tmp_path):
    torch.save(imagenet_state(), tmp_path / 'w.pth')
    model = MambaVision(SMALL, out_indices=(0, 1, 2), init_cfg=dict(type='Pretrained', checkpoint=tmp_path / 'w.pth'))
    model.init_weights()
    assert torch.equal(model.levels[2].blocks[0].mixer.D, fill(MambaVision(SMALL)).levels[2].blocks[0].mixer.D)


@pytest.mark.parametrize('variant', ['small', 'tiny2'])
def test_another_variant_is_recognised(tmp_path, variant):
    with torch.device('meta'):
        shapes = {k: v.shape for k, v in MambaVision(variant).state_dict().items()}
    torch.save({k: torch.zeros(shape, dtype=torch.bool) for k, shape in shapes.items()}, tmp_path / 'w.pth')
    model = MambaVision('tiny')
    before = {k: v.clone() for k, v in model.state_dict().items()}
    model.init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'w.pth'))
    with pytest.raises(CheckpointError, match=f"does not fit the backbone 'tiny'; this looks like '{variant}'"):
        model.init_weights()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()), 'half-loaded'


@pytest.mark.parametrize(('change', 'message'), [
    (lambda s: s.pop('levels.2.blocks.0.mixer.A_log'), r'missing: levels\.2\.blocks\.0\.mixer\.A_log'),
    (lambda s: s.update({'levels.2.blocks.0.mixer.E': torch.ones(1)}), r'unexpected: levels\.2\.blocks\.0\.mixer\.E'),
    (lambda s: s.update({'levels.2.blocks.0.mixer.D': torch.ones(1)}), r'of another shape: levels\.2.*mixer\.D'),
    (lambda s: s.update({'outnorm0.weight': torch.ones(16)}), r'missing: outnorm0\.bias')])
def test_misfits_are_listed(tmp_path, change, message):
    state = imagenet_state()
    change(state)
    torch.save(state, tmp_path / 'w.pth')
    model = MambaVision(SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'w.pth')))
    with pytest.raises(CheckpointError, match=message):
        model.init_weights()


def test_a_file_without_weights(tmp_path):
    torch.save(dict(state_dict=dict(a=1)), tmp_path / 'w.pth')
    model = MambaVision(SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'w.pth')))
    with pytest.raises(CheckpointError, match='its state_dict must be a dictionary of tensors'):
        model.init_weights()


@pytest.mark.parametrize(('file_channels', 'channels'), [(3, 4), (6, 3), (4, 1)])
def test_weights_for_other_channels_are_named_in_two_lines(file_channels, channels, tmp_path):
    """Of a backbone's file and of a whole model's, as train, test, infer and export check them."""
    state = MambaVision(dict(SMALL, in_channels=file_channels)).state_dict()
    torch.save(state, tmp_path / 'weights.pth')
    backbone = MambaVision(dict(SMALL, in_channels=channels))
    whole = torch.nn.ModuleDict(dict(backbone=backbone))
    key = 'patch_embed.conv_down.0.weight'
    checks = [lambda: check_fit(whole, {f'backbone.{k}': v for k, v in state.items()}, 'weights.pth'),
              lambda: check_fit(whole, {f'backbone.{k}': v for k, v in state.items()}, 'weights.pth', False)]
    if file_channels != 3:  # those start any other number
        checks.append(lambda: load_pretrained(backbone, tmp_path / 'weights.pth'))
    for check in checks:
        with pytest.raises(CheckpointError) as error:
            check()
        first, second = str(error.value).splitlines()
        assert 'weights.pth does not fit' in first and key in first
        assert f'is (8, {file_channels}, 3, 3) in the file and (8, {channels}, 3, 3) in the model' in first
        assert f'arch.in_channels={file_channels}' in second and '--no-pretrained' in second


@pytest.mark.parametrize('bands', [1, 2, 4, 12])
def test_weights_for_red_green_and_blue_start_other_bands(bands, tmp_path, caplog):
    """As in timm; the log says so in its one line."""
    state, key = imagenet_state(), 'patch_embed.conv_down.0.weight'
    torch.save(state, tmp_path / 'weights.pth')
    backbone = MambaVision(dict(SMALL, in_channels=bands))
    forget_earlier_runs()
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO):
            load_pretrained(backbone, tmp_path / 'weights.pth')
    finally:
        logger.removeHandler(caplog.handler)
    found, rgb = backbone.state_dict()[key], state[key]
    expected = rgb.sum(1, keepdim=True) if bands == 1 else torch.stack(
        [rgb[:, i % 3] for i in range(bands)], 1) * 3 / bands
    torch.testing.assert_close(found, expected)
    assert f'{key}, of 3 bands, {"summed" if bands == 1 else f"repeated and scaled for {bands}"}' in caplog.text
