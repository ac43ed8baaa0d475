"""The config: published settings, and what is refused."""
import json
import re

import pytest

pytest.importorskip('transformers')

from mmvision_mamba.backbones.family import resolve_arch
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.transformers import MambaVisionConfig, MambaVisionModel

from ..helpers.small_models import SMALL


def test_the_defaults_are_mambavision_t():
    arch = MambaVisionConfig().arch
    assert arch == {**resolve_arch('tiny'), 'depths': [1, 3, 8, 4], 'num_heads': [2, 4, 8, 16]}


def test_published_classifiers_have_1000_classes_with_and_without_names(golden):
    assert MambaVisionConfig.from_pretrained(golden).num_labels == 1000
    assert MambaVisionConfig(id2label={0: 'cat', 1: 'dog', 2: 'bird'}).num_labels == 3
    assert MambaVisionConfig(num_labels=7).num_labels == 7


def test_keys_that_this_package_does_not_use_are_kept(tmp_path):
    config = MambaVisionConfig(crop_pct=0.98, crop_mode='center', mean=[0.5, 0.5, 0.5])
    config.save_pretrained(tmp_path)
    again = MambaVisionConfig.from_pretrained(tmp_path)
    assert (again.crop_pct, again.crop_mode, again.mean) == (0.98, 'center', [0.5, 0.5, 0.5])
    assert again.to_dict() == config.to_dict() | {'transformers_version': again.to_dict()['transformers_version']}


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(dim=True), "arch['dim'] takes integers"), (dict(dim=None), "arch['dim'] takes integers"),
    (dict(depths=5), 'four values'), (dict(depths=[0, 0, 0, 10**9]), 'takes at most 1000'),
    (dict(dim=2**50, num_heads=(1, 1, 3, 3)), 'takes at most 65536'), (dict(dim=16384), 'parameters'),
    (dict(mlp_ratio=float('nan')), 'got nan'), (dict(window_size='abcd'), 'window_size must have four'),
    (dict(window_size=(1, 1, 10**12, 1)), 'window_size must be'), (dict(num_channels='3'), "arch['in_channels']"),
    (dict(num_heads=(1, 1, 3, 4)), '3 heads do not divide'), (dict(window_size=(14, 7)), 'window_size must have four'),
    (dict(depths=(1, 1, 1)), 'four values'), (dict(window_padding='reflect'), 'window_padding must be'),
    (dict(num_labels=0), None)])
def test_what_can_not_be_built(settings, message):
    config = MambaVisionConfig(**{**SMALL, **settings})
    if message is None:
        return
    with pytest.raises(ConfigError, match=re.escape(message)):
        MambaVisionModel(config)


@pytest.mark.parametrize(('settings', 'message'), [
    (dict(num_labels=-1), 'num_labels must be a whole number from 0 to 100000 (MMVISION_'),
    (dict(num_labels=10**9), 'environment allows more), got 1000000000'), (dict(num_labels=True), 'got True'),
    (dict(num_labels='5'), "got '5'"), (dict(id2label={'x': 'y'}), 'id2label must name'),
    (dict(id2label=['a']), 'id2label must name'), (dict(id2label={'9' * 5000: 'a'}), 'id2label must name'),
    (dict(out_indices='abc'), 'out_indices must be a list of stages'), (dict(out_indices=[True]), 'got [True]'),
    (dict(out_features=3), 'out_features must be a list of stages, names, got 3')])
def test_a_config_json_that_can_not_be(settings, message, tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps(dict(model_type='mambavision', **SMALL) | settings))
    with pytest.raises(ConfigError, match=re.escape(message)) as raised:
        MambaVisionConfig.from_pretrained(tmp_path)
    assert isinstance(raised.value, ValueError) and len(str(raised.value)) < 500


@pytest.mark.parametrize('key', ['attn_implementation', '_attn_implementation', '_attn_implementation_internal'])
def test_a_config_json_names_no_kernels_to_download(key, tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps(dict(SMALL, model_type='mambavision') | {key: 'someone/kernels'}))
    config = MambaVisionConfig.from_pretrained(tmp_path)
    assert 'someone' not in str(vars(config))
    MambaVisionModel(config)


def test_stages_that_disagree():
    with pytest.raises(ConfigError, match='not the same stages'):
        MambaVisionConfig(out_features=['stage1'], out_indices=[2])
    with pytest.raises(ValueError, match='stage5'):
        MambaVisionConfig(out_features=['stage5'])


def test_a_repository_of_another_model(tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps(dict(model_type='vit', hidden_size=64)))
    with pytest.raises(ConfigError, match=rf"^{tmp_path} is of the model type 'vit', not 'mambavision'.*AutoModel"):
        MambaVisionModel.from_pretrained(tmp_path)
