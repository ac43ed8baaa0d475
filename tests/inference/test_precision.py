"""Models that compute in bf16 predict what they do in float32, as far as eight bits can tell."""
import copy
import math

import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.structures import BaseDataElement
from torch import nn

from mmvision_mamba import Inferencer
from mmvision_mamba.backbones import MambaVision
from mmvision_mamba.errors import ConfigError
from mmvision_mamba.inference import precision
from mmvision_mamba.inference.precision import check_dtype, compute_in

from ..helpers.low_precision import ReLUWithoutBF16, error, rounded
from ..helpers.neighbours import ARCH, NEIGHBOURS, build, detection_batch, load, segmentation_batch, shrink

pytestmark = pytest.mark.filterwarnings('ignore')

QUICK = ('mask2former_mambavision_t_coco-panoptic', 'mask_rcnn_mambavision_t_1x_coco', 'segformer_mambavision_t_ade20k')


def typed(values, key=''):
    """(key, type) of all tensors in predictions."""
    if isinstance(values, torch.Tensor):
        return {(key, values.dtype)}
    return set().union(*(typed(value, f'{key}.{name}') for name, value in values.items())) \
        if isinstance(values, BaseDataElement) else set()


@pytest.mark.parametrize('name', [
    pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in NEIGHBOURS])
def test_every_neighbour_computes_in_bf16_and_predicts_in_float32(name):
    cfg = shrink(load(name))
    model = build(cfg).eval()
    low, by_hand = copy.deepcopy(model), rounded(model)
    compute_in(low, 'bf16')
    batch = segmentation_batch(19) if cfg.default_scope == 'mmseg' else detection_batch(
        cfg, 133 if name.endswith('panoptic') else 20)
    with torch.no_grad(), DefaultScope.overwrite_default_scope(cfg.default_scope):
        images = model.data_preprocessor(copy.deepcopy(batch))['inputs']
        exact, found, expected = (one.extract_feat(images) for one in (model, low, by_hand))
        assert all(feature.dtype == torch.float32 for feature in found)
        # By hand each layer rounds once. So do sums of layers here, at most as often: twice the variance.
        assert 0 < error(found, exact) < math.sqrt(2) * error(expected, exact)
        predicted, other = model.test_step(copy.deepcopy(batch)), low.test_step(copy.deepcopy(batch))
    for sample, sample_of_other in zip(predicted, other):
        assert typed(sample) == typed(sample_of_other)
        assert all(torch.isfinite(score).all() for score in sample_of_other.get('pred_instances', {}).get('scores', ()))


def test_weights_that_are_cast_once_give_the_bits_of_autocast():
    model = MambaVision(arch=ARCH, window_size=(4, 2)).eval()
    low = nn.ModuleList([copy.deepcopy(model)])
    compute_in(low, 'bf16')
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        with torch.autocast('cpu', torch.bfloat16):
            expected = model(image)
        copied = copy.deepcopy(low)[0]
        found = low[0](image), copied(image)
        for feature, *others in zip(expected, *found):
            assert all(torch.equal(other, feature.float()) for other in others)
        for parameter in copied.parameters():
            parameter.zero_()
        assert all(torch.equal(*pair) for pair in zip(low[0](image), found[0]))  # a copy has its own layers
        assert not torch.equal(copied(image)[0], found[0][0])
    types = {name: parameter.dtype for name, parameter in low[0].named_parameters()}
    assert types['levels.2.blocks.0.mixer.in_proj.weight'] == types['patch_embed.conv_down.0.weight'] == torch.bfloat16
    assert types['levels.2.blocks.0.mixer.A_log'] == types['levels.2.blocks.0.norm1.weight'] == torch.float32


@pytest.fixture
def warnings(monkeypatch):
    """The warnings that are logged."""
    found = []
    monkeypatch.setattr(precision, 'warn_once', found.append)
    return found


def test_a_layer_with_an_operator_without_bf16_is_computed_in_float32(warnings):
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)]
    plain = nn.ModuleList([nn.Sequential(*layers)])
    model = copy.deepcopy(plain)
    model[0][1], model[0][3] = ReLUWithoutBF16(), ReLUWithoutBF16()
    compute_in(plain, 'bf16')
    compute_in(model, 'bf16')
    image = torch.randn(1, 3, 16, 16)
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(model[0](image), plain[0](image))  # ReLU rounds nothing
    warning, = warnings
    assert warning.startswith('ReLUWithoutBF16 is computed in float32: ')


def test_other_errors_of_a_model_stay_what_they_are():
    model = nn.ModuleList([nn.Sequential(nn.Linear(4, 2))])
    compute_in(model, 'bf16')
    with pytest.raises(RuntimeError, match='shapes cannot be multiplied'):
        model[0](torch.ones(1, 3))
    assert model[0](torch.ones(1, 4)).dtype == torch.float32  # it is outside of the failed call again


def test_what_a_device_can_not_do_is_refused(model_files):
    for dtype, message in (('bfloat16', r"must be one of float32, bf16, fp16, got 'bfloat16'"),
                           ('fp16', 'is for GPUs, and several times slower than float32 on a CPU: use bf16')):
        with pytest.raises(ConfigError, match=message):
            Inferencer(model_files.segmentor.config, device='cpu', dtype=dtype)
    with pytest.raises(ConfigError, match='dtype bf16 does not work on meta: use float32'):
        check_dtype('bf16', 'meta')


@pytest.mark.parametrize(('capabilities', 'number'), [
    (dict(avx2=True, avx512_bf16=False), 1), (dict(amx_bf16=True, avx512_bf16=False), 0)])
def test_a_cpu_without_instructions_for_bf16_is_named(capabilities, number, monkeypatch, warnings):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: capabilities, raising=False)
    check_dtype('float32', 'cpu')
    check_dtype('bf16', 'cpu')
    assert len(warnings) == number
    assert all('no instructions for bfloat16' in warning for warning in warnings)


def test_a_torch_that_knows_no_capabilities(monkeypatch, warnings):
    monkeypatch.delattr(torch.cpu, 'get_capabilities', raising=False)
    check_dtype('bf16', 'cpu')
    assert len(warnings) in (0, 1)
