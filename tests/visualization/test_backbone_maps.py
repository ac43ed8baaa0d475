import contextlib
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mmvision_mamba import MambaVision
from mmvision_mamba.backbones import mixers
from mmvision_mamba.backbones.mambavision import Attention
from mmvision_mamba.backbones.windows import Windows
from mmvision_mamba.errors import CheckpointError, ConfigError
from mmvision_mamba.visualization import backbone_maps
from mmvision_mamba.visualization.backbone_maps import BackboneMaps, overlay
from mmvision_mamba.visualization.recording import recording

ARCH = dict(dim=16, in_dim=8, depths=(1, 1, 3, 3), num_heads=(1, 1, 2, 4))
SIZE = 150, 213  # maps of 10 × 14 and 5 × 7: no window fits them


def backbone(padding, window_size=(4, 3), **options):
    torch.manual_seed(0)
    return MambaVision(ARCH, window_size=window_size, window_padding=padding, **options).eval()


@pytest.fixture(scope='module')
def image():
    noise = np.random.default_rng(0).integers(0, 255, (19, 27, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(SIZE[::-1], Image.Resampling.BICUBIC)


@pytest.fixture
def recorded(monkeypatch):
    """The stages that `BackboneMaps` records, and draws what is in them."""
    found = []

    @contextlib.contextmanager
    def noted(model):
        with recording(model) as stages:
            yield stages
        found[:] = stages
    monkeypatch.setattr(backbone_maps, 'recording', noted)
    return found


@pytest.mark.parametrize('padding', ['fit', 'zeros'])
def test_the_recorded_attention_is_the_module_s_own(padding):
    model = backbone(padding)
    modules = [m for m in model.modules() if isinstance(m, Attention)]
    calls, hooks = [], []
    for module in modules:
        hooks.append(module.register_forward_hook(lambda *call: calls.append(call)))
    x = torch.randn(1, 3, *SIZE)
    with torch.no_grad(), recording(model) as stages:
        model(x)
    recorded = [a for stage in stages for a in stage.attention]
    assert len(recorded) == len(calls) == 2
    for attention, (module, args, output) in zip(recorded, calls):
        v = module.qkv(args[0]).chunk(3, -1)[2].unflatten(-1, (module.num_heads, -1)).transpose(1, 2)
        weights = torch.stack([attention.weights(window) for window in range(len(v))])
        torch.testing.assert_close(module.proj((weights @ v).transpose(1, 2).flatten(2)), output)


@pytest.mark.parametrize('padding', ['fit', 'zeros'])
def test_the_recorded_steps_are_the_scan_s_own(padding, monkeypatch):
    model, steps = backbone(padding), []
    scan = mixers.selective_scan

    def note(u, delta, A, B, C, D, bias, mask, **options):
        step = F.softplus(delta + bias).mean(-1)
        steps.append(step if mask is None else step * mask)
        return scan(u, delta, A, B, C, D, bias, mask=mask, **options)
    monkeypatch.setattr(mixers, 'selective_scan', note)
    with torch.no_grad(), recording(model) as stages:
        model(torch.randn(1, 3, *SIZE))
    recorded = [delta for stage in stages for delta in stage.delta]
    assert len(recorded) == len(steps) == 4
    for delta, step in zip(recorded, steps):
        torch.testing.assert_close(delta, step)


def test_recording_changes_nothing_and_leaves_nothing():
    model, x = backbone('fit'), torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        before = model(x)
        with recording(model):
            during = model(x)
    assert all(torch.equal(a, b) for a, b in zip(before, during))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize('padding', ['fit', 'zeros'])
@pytest.mark.parametrize('size', [None, (300, 320)])  # the map's cells are 16 pixels, or fractions of these
@pytest.mark.parametrize('target', [(0, 0), (6, 9), (7, 3), (8, 12)])
def test_attention_on_one_token_lights_its_pixels_alone(padding, size, target, image, recorded):
    maps = BackboneMaps(backbone(padding), image, size)
    height, width = size or SIZE
    shape = math.ceil(height / 16), math.ceil(width / 16)
    stage = recorded[2]
    plan = Windows.plan(*shape, 4, padding)
    # Where the model itself puts the target, and which places share its window.
    index = torch.arange(1., 1 + shape[0] * shape[1]).view(1, 1, *shape)
    tokens = plan.partition(index, plan.real(1, index.device))[..., 0]
    window, token = (tokens == index[0, 0][target]).nonzero()[0].tolist()
    attention = stage.attention[0]
    attention.q, attention.k = torch.ones_like(attention.q), torch.zeros_like(attention.k)
    attention.k[window, :, token] = 1e4
    cells = [((np.arange(n) + 0.5) * new / n // 16).astype(int) for n, new in zip(SIZE, (height, width))]
    own = (cells[0][:, None] == target[0]) & (cells[1] == target[1])
    assert own.any()
    places = np.isin(index[0, 0].numpy()[cells[0][:, None], cells[1]], tokens[window].numpy())
    within, outside = np.argwhere(places)[-1][::-1], np.argwhere(~places)[0][::-1]
    keys = plan.tokens if padding == 'zeros' else int((tokens[window] > 0).sum())
    lit = maps.attention(3, within)
    assert np.array_equal(lit > 0, own)
    np.testing.assert_allclose(lit[own], keys, rtol=1e-4)
    # A place in another window looks at its own alone, and evenly.
    elsewhere = maps.attention(3, outside)
    assert not elsewhere[places].any()
    assert elsewhere[outside[1], outside[0]] == pytest.approx(1, rel=1e-4)
    # In the average every query of the window looks at the target.
    np.testing.assert_allclose(maps.attention(3)[own], keys, rtol=1e-4)
    x1, y1, x2, y2 = maps.window(3, within)
    box = np.zeros(SIZE, bool)
    box[y1:y2, x1:x2] = True
    assert np.array_equal(box, places)


@pytest.mark.parametrize('padding', ['fit', 'zeros'])
def test_shares_average_to_one(padding):
    cells = np.random.default_rng(0).integers(0, 255, (128, 192, 3), dtype=np.uint8)  # whole cells, and no padding
    maps = BackboneMaps(backbone(padding, window_size=None), cells)
    for stage in (3, 4):
        assert maps.attention(stage).mean() == pytest.approx(1, rel=1e-4)
        assert maps.attention(stage, (20, 100)).mean() == pytest.approx(1, rel=1e-4)
        assert maps.attention(stage, (20, 100)).std() > 0


def test_the_mean_over_queries_is_that_of_all_weights(image, monkeypatch, recorded):
    monkeypatch.setattr('mmvision_mamba.visualization.recording.QUERIES', 5)  # in parts
    BackboneMaps(backbone('fit'), image)
    stage = recorded[2]
    own = stage.real_tokens('cpu')
    mean = stage.attention[0].mean(own)
    for window in range(len(own)):
        expected = stage.attention[0].weights(window)[:, own[window]].mean(1)
        torch.testing.assert_close(mean[window], expected)


def test_components_tell_two_halves_apart():
    halves = np.zeros((128, 160, 3), np.uint8)
    halves[:, 80:] = 200
    maps = BackboneMaps(backbone('fit'), halves)
    for stage in (1, 2, 3):
        colours = maps.components(stage)
        assert colours.shape == (128, 160, 3)
        assert 0 <= colours.min() <= colours.max() <= 1
        assert abs(colours[:, 16:64, 0].mean() - colours[:, 96:144, 0].mean()) > 0.3


def test_every_map_has_the_image_s_size(image):
    maps = BackboneMaps(backbone('zeros'), image, (97, 60))
    for values in (maps.attention(3), maps.attention(4, (212, 149)), maps.attention(4, (0, 0), 0, 3), maps.delta(3, 1),
                   maps.delta(4)):
        assert values.shape == SIZE
        assert np.isfinite(values).all()
    assert (maps.delta(3) > 0).all()
    assert overlay(maps.image, maps.delta(3)).shape == (*SIZE, 3)


@pytest.mark.parametrize('call, message', [
    (lambda maps: maps.attention(2), 'stage must be one of 3, 4, got 2'),
    (lambda maps: maps.attention(3, (213, 0)), 'outside the image of 213 × 150'),
    (lambda maps: maps.attention(3, block=1), 'block of stage 3 must be from 0 to 0'),
    (lambda maps: maps.attention(4, head=4), 'head of stage 4 must be from 0 to 3'),
    (lambda maps: maps.delta(3, 2), 'mixer of stage 3 must be from 0 to 1'),
    (lambda maps: maps.components(5), 'stage must be one of 1, 2, 3, 4')])
def test_what_is_not_there_is_named(call, message, image):
    with pytest.raises(ConfigError, match=message):
        call(BackboneMaps(backbone('fit'), image))


def test_a_backbone_cut_off_has_no_stage_4(image):
    maps = BackboneMaps(backbone('fit', out_indices=(0, 2)), image)
    assert maps.stages == (1, 2, 3)
    assert maps.attention(3).shape == SIZE
    with pytest.raises(ConfigError, match='stage must be one of 3, got 4'):
        maps.attention(4)


def test_features_that_are_no_numbers_are_refused(image):
    model = backbone('fit')
    with torch.no_grad():
        model.levels[2].blocks[0].mlp.fc1.weight[0, 0] = float('nan')
    with pytest.raises(CheckpointError, match='stage 3 gives NaN or infinite features'):
        BackboneMaps(model, image)
