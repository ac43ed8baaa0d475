"""Published models: one table, and all that repeats it agrees with it."""
import json

import pytest
import yaml

from mmvision_mamba.checkout import CONFIGS
from mmvision_mamba.configs import config_names, find_config
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.published import BY_NAME, MODELS, published, published_weights

from .helpers.published import DETECTORS, SEGMENTORS, load, strings


def test_every_published_model_has_a_config_or_timms_name():
    names = config_names()
    assert [model.name for model in MODELS if model.name not in names] == [
        'mambavision_base.in21k', 'mambavision_large.in21k']
    for model in MODELS:  # and each is a name for CONFIG, of its own architecture
        arch = (model.timm or '').removeprefix('mambavision_').partition('.')[0]
        text = find_config(model.name).read_text()
        assert not arch or f"arch='{arch}'" in text or arch == 'tiny'
    assert len({model.repo for model in MODELS}) == len({model.name for model in MODELS}) == len(MODELS) == 18


def test_the_configs_name_the_weights_of_the_table():
    known = {model.url for model in MODELS}
    for name in {**DETECTORS, **SEGMENTORS}:
        urls = {text for text in strings(load(name).model) if 'huggingface.co' in text}
        assert urls and urls <= known, name


def test_parameters_and_results_are_those_of_the_recipes():
    for name, recipe in {**DETECTORS, **SEGMENTORS}.items():
        if 'No published' in recipe.result:
            assert published(name) is None
            continue
        metric, number = recipe.result.rsplit(' ', 1)
        assert BY_NAME[name].results[metric] == float(number) and BY_NAME[name].parameters == recipe.params


def test_the_index_of_models_says_the_same():
    index = {entry['Name']: entry for entry in yaml.safe_load((CONFIGS / 'metafile.yml').read_text())['Models']}
    assert {name: entry['Weights'] for name, entry in index.items() if 'Weights' in entry} == {
        model.name: model.url for model in MODELS if model.name in index}
    for model in MODELS:
        if entry := index.get(model.name):
            numbers = [number for result in entry['Results'] for number in result['Metrics'].values()]
            assert numbers == list(model.results.values()), model.name
            assert entry['Metadata']['Parameters'] == round(model.parameters * 1e6)


@pytest.mark.parametrize('form', ['{}', '{}.py', 'configs/{}.py', 'mmvision_mamba::{}.py'])
def test_a_name_is_that_of_its_config(form, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = 'upernet_mambavision_t_ade20k'
    assert published_weights(form.format(name)).endswith('/mamba_vision_160k_ade20k-512x512_tiny.pth')
    (tmp_path / 'configs').mkdir()
    for folder in (tmp_path, tmp_path / 'configs'):
        (folder / f'{name}.py').touch()
    if '::' not in form:  # a file of one's own
        with pytest.raises(ConfigError, match='no weights are published for'):
            published_weights(form.format(name))


def test_names_of_timm_and_archs():
    assert published('mambavision_base.in21k').repo == 'nvidia/MambaVision-B-21K'
    assert published('tiny') is published('mambavision_tiny.in1k') is published('mambavision_t_in1k')
    assert published('large3').image == 256


def test_names_without_weights():
    assert published('faster_rcnn_mambavision_t_coco') is None and published('nowhere/x.py') is None
    with pytest.raises(ConfigError, match=r"did you mean 'upernet_mambavision_t_ade20k'.*mmvision-mamba models` lists"):
        published_weights('upernet_mambavision_t_fit_ade20k')


def test_the_table_is_plain_data():
    json.dumps([model._asdict() for model in MODELS])
