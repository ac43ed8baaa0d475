"""timm's layouts of folders and repositories, and transformers' wrapper of its models."""
import json

import pytest
import timm
import torch

from mmvision_mamba import create_model
from mmvision_mamba.errors import ConfigError

from ..data.golden.weights import fill, image
from ..helpers.hub_repositories import put_in_cache
from ..helpers.small_models import SMALL


@pytest.fixture(scope='module')
def model():
    found = fill(create_model('mambavision_tiny', num_classes=7, **{k: v for k, v in SMALL.items() if k != 'in_dim'}))
    return found.eval().to(memory_format=torch.contiguous_format)  # safetensors takes no other


@pytest.fixture(scope='module')
def folder(model, tmp_path_factory):
    """What `timm.models.push_to_hf_hub` uploads."""
    if not hasattr(timm.models, 'save_for_hf'):
        pytest.skip('this timm keeps the function to itself')
    path = tmp_path_factory.mktemp('timm') / 'small'
    arch = dict(SMALL, in_dim=32)
    timm.models.save_for_hf(model, str(path), model_args=dict(arch=arch), safe_serialization=True)
    return path


def pixels(*size, **options):
    return torch.from_numpy(image(*size, **options))


def test_what_is_pushed(folder):
    config = json.loads((folder / 'config.json').read_text())
    assert config['architecture'] == 'mambavision_tiny' and config['num_classes'] == 7
    assert config['pretrained_cfg']['mean'] == [0.485, 0.456, 0.406] and 'url' not in config['pretrained_cfg']
    assert (folder / 'model.safetensors').exists()


def create(source, folder, cache, monkeypatch, **options):
    if source == 'local-dir':
        if 'local-dir' not in timm.models._factory.__dict__.get('_MODEL_SOURCES', ()):
            pytest.skip('this timm has no local-dir:')
        return timm.create_model(f'local-dir:{folder}', pretrained=True, **options).eval()
    from huggingface_hub import constants
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    put_in_cache(folder, cache, 'me/small')
    if source == 'cache_dir':
        options['cache_dir'] = str(cache)
    else:
        monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(cache))
    return timm.create_model('hf-hub:me/small', pretrained=True, **options).eval()


each_source = pytest.mark.parametrize('source', ['hf-hub', 'local-dir'])


@pytest.mark.parametrize('source', ['hf-hub', 'local-dir', 'cache_dir'])
def test_the_classifier(source, model, folder, tmp_path, monkeypatch):
    x = pixels(1, 64, 64)
    torch.testing.assert_close(create(source, folder, tmp_path, monkeypatch)(x), model(x))


@each_source
def test_features(source, model, folder, tmp_path, monkeypatch):
    x = pixels(1, 64, 64)
    features = create(source, folder, tmp_path, monkeypatch, features_only=True, out_indices=(1, 3))(x)
    for found, expected in zip(features, model.forward_intermediates(x, (1, 3), intermediates_only=True)):
        torch.testing.assert_close(found, expected)


def test_other_classes_and_channels(model, folder, tmp_path, monkeypatch):
    found = create('hf-hub', folder, tmp_path, monkeypatch, num_classes=3, in_chans=1)
    assert found(pixels(1, 64, 64, channels=1)).shape == (1, 3)
    key = 'levels.3.blocks.1.norm1.weight'
    assert torch.equal(found.state_dict()[key], model.state_dict()[key])


def test_cache_dir_is_for_repositories(tmp_path):
    with pytest.raises(ConfigError, match='HF_HOME'):
        timm.create_model('mambavision_tiny', pretrained=True, cache_dir=str(tmp_path))


def test_timm_backbone_of_transformers():
    transformers = pytest.importorskip('transformers')
    config = transformers.TimmBackboneConfig(backbone='mambavision_tiny', out_indices=(1, 2, 3),
                                              use_pretrained_backbone=False)
    backbone = transformers.TimmBackbone(config)
    maps = backbone(pixels(1, 64, 64)).feature_maps
    assert backbone.channels == [160, 320, 640] == [x.shape[1] for x in maps]
    sum(x.square().sum() for x in maps).backward()
