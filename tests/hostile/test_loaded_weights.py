"""Weights that a model can't take: an error, by every way in; never a model of random weights."""
import pytest
import torch
from mmengine.model import BaseModule
from mmengine.runner import load_checkpoint
from torch import nn

from mmvision_mamba import Inferencer, MambaVision, create_model
from mmvision_mamba.backbones.weights import check_fit, load_fitting
from mmvision_mamba.checkpoints import mmengine_loader
from mmvision_mamba.checkpoints.loaded import check_loaded
from mmvision_mamba.errors import CheckpointError
from mmvision_mamba.runtime.loaders import load_model
from mmvision_mamba.runtime.standalone import RuntimeInputError

from ..helpers.small_models import SMALL


class Stubborn(nn.Linear):
    """Fails to copy what it is given, as torch does for sparse weights, and has it logged."""

    def _load_from_state_dict(self, state_dict, prefix, metadata, strict, missing, unexpected, errors):
        errors.append(f'While copying the parameter named "{prefix}weight"')


@pytest.fixture(autouse=True)
def enforced():
    mmengine_loader.enforce()


def init_cfg(module, path):
    module.init_cfg = dict(type='Pretrained', checkpoint=str(path))
    module.init_weights()


class Head(BaseModule):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer


@pytest.mark.parametrize('load', [init_cfg, lambda module, path: load_checkpoint(module, str(path), logger='silent')],
                         ids=['init_cfg', 'load_checkpoint'])
def test_mmengines_loading(load, tmp_path):
    weights = {'layer.weight': torch.ones(2, 2), 'layer.bias': torch.ones(2)}
    torch.save(weights, tmp_path / 'w.pth')
    head = Head(nn.Linear(2, 2))
    load(head, tmp_path / 'w.pth')
    assert head.layer.weight.sum() == 4
    with pytest.raises(CheckpointError, match=r'w\.pth: layer\.weight could not be loaded'):
        load(Head(Stubborn(2, 2)), tmp_path / 'w.pth')
    torch.save({'other.weight': torch.ones(2, 2)}, tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=r'w\.pth holds none of the weights of Head, .*other\.weight'):
        load(Head(nn.Linear(2, 2)), tmp_path / 'w.pth')


def test_half_precision_and_nan_are_what_the_file_has():
    layer = nn.Linear(2, 2)
    state = {'weight': torch.full((2, 2), 0.1, dtype=torch.float16), 'bias': torch.tensor([float('nan'), 1.])}
    layer.load_state_dict(state)
    check_loaded(layer, state, 'w.pth')
    layer.weight.data[1, 1] += 1e-3
    with pytest.raises(CheckpointError, match=r'w\.pth: weight could not be loaded'):
        check_loaded(layer, state, 'w.pth')


def test_weights_that_are_too_large_for_the_model_are_refused():
    layer = nn.Linear(2, 2)
    state = dict(weight=torch.full((2, 2), 1e300, dtype=torch.float64), bias=torch.ones(2))
    layer.load_state_dict(state)
    with pytest.raises(CheckpointError, match=r'w\.pth: weight could not be loaded'):
        check_loaded(layer, state, 'w.pth')


@pytest.mark.parametrize('make', [
    lambda t: t.to_sparse(), lambda t: t.to('meta'), lambda t: t.to(torch.int8), lambda t: t.to(torch.complex64),
    lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8)],
    ids=['sparse', 'meta', 'int8', 'complex', 'quantised'])
@pytest.mark.filterwarnings('ignore')
def test_tensors_of_other_kinds_do_not_fit(make):
    """Whoever reads a file by other means than this package's may have such ones."""
    model = nn.Sequential(nn.Linear(2, 2))
    state = {'0.weight': make(torch.ones(2, 2)), '0.bias': torch.ones(2)}
    with pytest.raises(CheckpointError, match=r'1 of another kind of numbers, 0\.weight the first'):
        check_fit(model, dict(state_dict=state), 'w.pth')


@pytest.mark.parametrize('change', [
    lambda t: t.to(torch.int8), lambda t: t[..., :0], lambda t: t.reshape(-1), lambda t: t.sum()],
    ids=['int8', 'empty', 'flat', 'a number'])
def test_backbones_and_classifiers(change, tmp_path):
    """Each tensor in its turn; the first has to do with the channels, the last with the classes."""
    small = dict(dim=16, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))
    state = create_model(num_classes=5, **small).state_dict()
    path = tmp_path / 'w.pth'
    for key in ('patch_embed.conv_down.0.weight', 'levels.2.blocks.0.mixer.A_log', 'head.weight'):
        torch.save({**state, key: change(state[key])}, path)
        with pytest.raises(CheckpointError, match='does not fit the backbone') as error:
            create_model(num_classes=5, pretrained=path, **small)
        assert len(str(error.value).splitlines()) <= 2
        if key != 'head.weight':
            with pytest.raises(CheckpointError, match='does not fit the backbone'):
                init_cfg(MambaVision(SMALL), path)


def test_names_that_are_none(tmp_path):
    small = dict(dim=16, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))
    with pytest.raises(CheckpointError, match="pretrained='' names no file"):
        create_model(pretrained='', **small)
    for name, words in (('', 'it is a folder'), ('a' * 5000, 'File name too long'), (tmp_path, 'it is a folder')):
        with pytest.raises(CheckpointError, match=words) as error:
            init_cfg(MambaVision(SMALL), name)
        assert len(str(error.value)) < 500
    with pytest.raises(RuntimeInputError, match='no such file'):
        load_model('a' * 5000)


def test_weights_that_are_there_twice_are_refused(tmp_path):
    """Which of both were meant is not said."""
    state = MambaVision(SMALL).state_dict()
    torch.save({**state, **{f'module.{key}': value + 1 for key, value in state.items()}}, tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match=r'both with and without module\.'):
        init_cfg(MambaVision(SMALL), tmp_path / 'w.pth')


def test_a_head_that_only_training_uses_may_be_of_other_classes():
    class Segmentor(nn.Module):
        def __init__(self, classes):
            super().__init__()
            self.backbone, self.auxiliary_head = nn.Linear(2, 2), nn.Linear(2, classes)

    theirs, ours = Segmentor(3), Segmentor(5)
    load_fitting(ours, dict(state_dict=theirs.state_dict()), 'w.pth')
    assert torch.equal(ours.backbone.weight, theirs.backbone.weight)


def test_the_inferencer(configs, tmp_path):
    model = Inferencer(configs.segmentor, device='cpu').model
    state = model.state_dict()
    torch.save(dict(state_dict=state), tmp_path / 'w.pth')
    loaded = Inferencer(configs.segmentor, tmp_path / 'w.pth', device='cpu').model
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())
    key = next(key for key in state if key.startswith('decode_head') and key.endswith('weight'))
    torch.save(dict(state_dict={**state, key: state[key].to(torch.int8)}), tmp_path / 'w.pth')
    with pytest.raises(CheckpointError, match='1 of another kind of numbers'):
        Inferencer(configs.segmentor, tmp_path / 'w.pth', device='cpu')
