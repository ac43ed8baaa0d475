"""Published repositories through transformers' classes: golden numbers, conventions, weights that are lacking."""
import logging
import re

import numpy as np
import pytest
import torch

pytest.importorskip('transformers')

import transformers

from mmvision_mamba import MambaVision
from mmvision_mamba.errors import CheckpointError
from mmvision_mamba.transformers import (
    MambaVisionBackbone,
    MambaVisionConfig,
    MambaVisionForImageClassification,
    MambaVisionModel,
)

from ..data.golden.weights import fill, image
from ..helpers.hub_repositories import GOLDEN
from ..helpers.small_models import SMALL

SETTINGS = dict(SMALL, window_size=(8, 8, 14, 7))
MODELS = (MambaVisionModel, MambaVisionForImageClassification, MambaVisionBackbone)


def pixels(*size):
    return torch.from_numpy(image(*size))


def config(**settings):
    return MambaVisionConfig(**{**SETTINGS, 'num_labels': 10, **settings})


# Golden numbers -----------------------------------------------------------------------------------------------------

def test_the_published_logits(golden):
    model, report = MambaVisionForImageClassification.from_pretrained(golden, output_loading_info=True)
    assert not any(report.values()) and not model.training
    with torch.no_grad():
        output = model(pixels(2, 224, 224), output_hidden_states=True)
    np.testing.assert_allclose(output.logits, np.load(GOLDEN / 'logits_t_2x224x224.npz')['logits'], atol=1e-4, rtol=0)
    assert [tuple(x.shape[1:]) for x in output.hidden_states] == [
        (80, 56, 56), (160, 28, 28), (320, 14, 14), (640, 7, 7)]


@pytest.mark.parametrize('name', [
    'features_t_win14-7_1x128x160', pytest.param('features_t_win112-56_1x96x160', marks=pytest.mark.slow)])
def test_the_published_features(name, golden, tmp_path):
    w3, w4, *size = map(int, re.fullmatch(r'features_t_win(\d+)-(\d+)_(\d+)x(\d+)x(\d+)', name).groups())
    model = MambaVisionBackbone.from_pretrained(golden, out_indices=(0, 1, 2, 3), window_size=(8, 8, w3, w4))
    assert all((norm.weight == 1).all() and not norm.bias.any() for norm in (
        model.model.outnorm0, model.model.outnorm3))  # as a model built anew has them
    fill(model.model)  # those of a detector's checkpoint
    model.save_pretrained(tmp_path)
    again = MambaVisionBackbone.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        maps = again(pixels(*size)).feature_maps
    expected = np.load(GOLDEN / f'{name}.npz')
    for i, feature in enumerate(maps):
        _, c, h, w = feature.shape
        assert feature.shape == tuple(expected[f'stage{i}_shape'])
        np.testing.assert_allclose(feature[:, ::max(1, c // 8)][:, :, ::max(1, h // 6), ::max(1, w // 6)],
                                   expected[f'stage{i}_samples'], atol=1e-4, rtol=0)


# Conventions --------------------------------------------------------------------------------------------------------

def test_outputs_of_the_model(small):
    model, x = MambaVisionModel.from_pretrained(small), pixels(2, 64, 96)
    output = model(x)
    assert type(output).__name__ == 'BaseModelOutputWithPoolingAndNoAttention' and output.hidden_states is None
    assert output.last_hidden_state.shape == (2, 128, 2, 3)
    torch.testing.assert_close(output.pooler_output, output.last_hidden_state.mean((2, 3)))
    output = model(x, output_hidden_states=True)
    stages = MambaVision(SMALL, norm_layer=None, window_padding='zeros')
    stages.load_state_dict(model.model.state_dict(), strict=False)
    for found, expected in zip(output.hidden_states, stages.eval()(x)):
        torch.testing.assert_close(found, expected)
    last, pooled, hidden = model(x, output_hidden_states=True, return_dict=False)
    assert len(hidden) == 4
    assert torch.equal(last, output.last_hidden_state) and torch.equal(pooled, output.pooler_output)
    model.config.output_hidden_states = True
    assert len(model(x).hidden_states) == 4


@pytest.mark.parametrize(('settings', 'stages'), [
    (dict(), [3]), (dict(out_indices=(0, 1, 2, 3)), [0, 1, 2, 3]), (dict(out_indices=[-1]), [3]),
    (dict(out_features=['stage2', 'stage3']), [1, 2]), (dict(out_features=['stage3'], out_indices=[2]), [2])])
def test_stages_of_the_backbone(settings, stages, small):
    model, report = MambaVisionBackbone.from_pretrained(small, **settings, output_loading_info=True)
    assert not report['missing_keys'] or str(transformers.__version__) < '5'
    if transformers.__version__ >= '5':
        assert not report['unexpected_keys']
    x = pixels(1, 64, 64)
    output = model(x, output_hidden_states=True)
    assert model.channels == [16 * 2**i for i in stages] == [x.shape[1] for x in output.feature_maps]
    assert len(output.hidden_states) == max(stages) + 1
    for i, found, plain in zip(stages, output.feature_maps, model(x).feature_maps):
        torch.testing.assert_close(found, plain)
        torch.testing.assert_close(found, getattr(model.model, f'outnorm{i}')(output.hidden_states[i]))
    maps, hidden = model(x, output_hidden_states=True, return_dict=False)
    assert len(maps) == len(stages) and len(hidden) == max(stages) + 1
    assert model.config.to_dict()['out_features'] == [f'stage{i + 1}' for i in stages]


def test_losses(small):
    model, x = MambaVisionForImageClassification.from_pretrained(small), pixels(2, 64, 64)
    labels = torch.tensor([3, 7])
    output = model(x, labels=labels)
    torch.testing.assert_close(output.loss, torch.nn.functional.cross_entropy(output.logits, labels))
    loss, logits = model(x, labels=labels, return_dict=False)
    assert torch.equal(loss, output.loss) and torch.equal(logits, output.logits)
    model.config.problem_type = 'multi_label_classification'
    assert model(x, labels=torch.rand(2, 10)).loss > 0


@pytest.mark.parametrize('build', [MambaVisionForImageClassification, MambaVisionBackbone], ids=lambda b: b.__name__)
def test_gradient_checkpointing(build):
    torch.manual_seed(0)
    model = build(config(drop_path_rate=0.)).train()
    x, gradients = pixels(2, 64, 64), []
    for enable in (False, True):
        if enable:
            model.gradient_checkpointing_enable()
        assert model.is_gradient_checkpointing == enable == all(level.with_cp for level in model.model.levels)
        model.zero_grad()
        output = model(x)
        (output.logits if 'logits' in output else output.feature_maps[0]).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    for a, b in zip(*gradients):
        torch.testing.assert_close(a, b)
    model.gradient_checkpointing_disable()
    assert not model.is_gradient_checkpointing


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16], ids=str)
def test_lower_precision(dtype, small):
    x = pixels(1, 64, 64)
    expected = MambaVisionForImageClassification.from_pretrained(small)(x).logits
    model = MambaVisionForImageClassification.from_pretrained(small, torch_dtype=dtype)
    assert {p.dtype for p in model.parameters()} == {dtype}
    logits = model(x).logits  # images as the processor makes them, float32
    assert logits.dtype == dtype and (logits.float() - expected).abs().max() < 0.1 * expected.abs().max()


# Loading and saving -------------------------------------------------------------------------------------------------

@pytest.mark.parametrize('build', MODELS, ids=lambda build: build.__name__)
def test_round_trip(build, small, tmp_path):
    model = build.from_pretrained(small)
    model.save_pretrained(tmp_path)
    again, report = build.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    for key in SETTINGS:
        assert getattr(again.config, key) == getattr(model.config, key)
    assert 'auto_map' not in (tmp_path / 'config.json').read_text()  # there is no such code in the folder
    expected = model.state_dict()
    assert expected.keys() == again.state_dict().keys() and all(key.startswith('model.') for key in expected)
    assert all(torch.equal(value, expected[key]) for key, value in again.state_dict().items())
    weight = again.model.patch_embed.conv_down[3].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_weights_without_the_prefix(small, tmp_path):
    """As in timm's repositories, and in the published files beside them."""
    model = MambaVisionForImageClassification.from_pretrained(small)
    model.config.save_pretrained(tmp_path)
    torch.save(model.model.state_dict(), tmp_path / 'pytorch_model.bin')
    again, report = MambaVisionForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert torch.equal(again.model.head.weight, model.model.head.weight)


def test_a_head_for_other_classes_is_new_and_the_rest_is_loaded(small):
    expected = MambaVisionForImageClassification.from_pretrained(small).state_dict()
    model = MambaVisionForImageClassification.from_pretrained(small, num_labels=3, ignore_mismatched_sizes=True)
    assert model.model.head.weight.shape == (3, 128)
    assert 0.01 < model.model.head.weight.std() < 0.03 and not model.model.head.bias.any()
    for key, value in model.state_dict().items():
        assert 'head' in key or torch.equal(value, expected[key]), key


@pytest.mark.parametrize('load', [MambaVisionForImageClassification, transformers.AutoModelForImageClassification])
def test_another_number_of_classes_is_two_lines(load, small, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger('transformers'), 'propagate', True)
    message = r"small': its weights are of 10 classes, and num_labels is 3\.\nPass ignore_mismatched_sizes=True"
    with pytest.raises(CheckpointError, match=message) as raised:
        load.from_pretrained(small, num_labels=3)
    assert isinstance(raised.value, RuntimeError) and len(str(raised.value).splitlines()) == 2
    assert not [record for record in caplog.records if record.name == 'transformers.modeling_utils']


def test_weights_of_another_model_are_two_lines(small):
    with pytest.raises(CheckpointError, match=(
            r"is \(.*\) in its weights and \(.*\) by its config, and \d+ others\.\nUse the config of these")):
        MambaVisionModel.from_pretrained(small, dim=32)


def test_what_transformers_reports_of_loading_is_logged(small, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger('transformers'), 'propagate', True)
    model = MambaVisionForImageClassification.from_pretrained(small)
    model.save_pretrained(tmp_path, state_dict={k: v for k, v in model.state_dict().items() if 'head' not in k})
    _, report = MambaVisionForImageClassification.from_pretrained(tmp_path, output_loading_info=True)
    assert set(report['missing_keys']) == {'model.head.weight', 'model.head.bias'}
    assert 'model.head.weight' in caplog.text


def test_what_a_file_lacks_is_as_in_a_model_built_anew(small, tmp_path):
    model = MambaVisionModel.from_pretrained(small)
    state = model.state_dict()
    lacking = ('levels.2.blocks.0.mixer.A_log', 'levels.2.blocks.0.mixer.D', 'levels.3.blocks.1.norm1.weight',
               'levels.3.blocks.1.norm1.bias', 'levels.3.blocks.1.mlp.fc1.weight', 'levels.3.blocks.1.mlp.fc1.bias')
    model.config.layer_scale, model.config.layer_scale_conv = 1e-5, 1e-3
    model.save_pretrained(tmp_path, state_dict={k: v for k, v in state.items() if not k.endswith(lacking)})
    found = MambaVisionModel.from_pretrained(tmp_path)
    block = found.model.levels[3].blocks[1]
    assert torch.equal(found.model.levels[2].blocks[0].mixer.A_log.exp().round()[0], torch.arange(1., 9))
    assert (found.model.levels[2].blocks[0].mixer.D == 1).all() and (block.norm1.weight == 1).all()
    assert 0.01 < block.mlp.fc1.weight.std() < 0.03 and not block.mlp.fc1.bias.any()
    assert (block.gamma_1 == 1e-5).all() and (found.model.levels[0].blocks[0].gamma == 1e-3).all()
    left = {k: v for k, v in found.state_dict().items() if not k.endswith(lacking) and 'gamma' not in k}
    assert all(torch.equal(value, state[key]) for key, value in left.items())


def test_a_tensor_that_a_module_lacks_leaves_the_others_alone(small, tmp_path):
    if transformers.__version__ < '5':
        pytest.skip('transformers 4 initialises the whole module')
    model = MambaVisionModel.from_pretrained(small)
    state = model.state_dict()
    lacking = ('mixer.D', 'num_batches_tracked', 'fc1.bias')
    model.save_pretrained(tmp_path, state_dict={k: v for k, v in state.items() if not k.endswith(lacking)})
    found = MambaVisionModel.from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, state[key]) for key, value in found.items() if not key.endswith(lacking))
    assert all((value == 1).all() for key, value in found.items() if key.endswith('mixer.D'))


def test_a_model_built_anew_is_initialised_as_published():
    model = MambaVisionForImageClassification(config(layer_scale=1e-5))
    assert not model.model.head.bias.any() and 0.01 < model.model.head.weight.std() < 0.03
    block = model.model.levels[2].blocks[0]
    assert (block.gamma_2 == 1e-5).all() and (block.mixer.D == 1).all()
    assert model.get_input_embeddings() is model.model.patch_embed
