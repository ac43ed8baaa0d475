"""safetensors, `.bin` and several files, wherever a checkpoint is taken, with the names that transformers gives."""
import json
from functools import partial

import pytest
import torch
from mmengine.runner import load_checkpoint
from safetensors.torch import save_file

from mmvision_mamba import Inferencer, MambaVision, create_model
from mmvision_mamba.checkpoints.mmengine_loader import enforce
from mmvision_mamba.errors import CheckpointError

from ..data.golden.weights import fill
from ..helpers.small_models import SMALL, imagenet_state
from ..helpers.tiny_training import runner, weights


def write(state: dict, folder, form: str):
    """A state dict as a file of a form; returns what to name."""
    state = {key: value.clone(memory_format=torch.contiguous_format) for key, value in state.items()}
    if form == 'sharded':
        parts = {f'model-0000{i}-of-00002.safetensors': dict(list(state.items())[i - 1::2]) for i in (1, 2)}
        for name, part in parts.items():
            save_file(part, folder / name)
        path = folder / 'model.safetensors.index.json'
        path.write_text(json.dumps(dict(weight_map={key: name for name, part in parts.items() for key in part})))
        return path
    path = folder / f'model.{form}'
    save_file(state, path) if form == 'safetensors' else torch.save(state, path)
    return path


@pytest.mark.parametrize('form', ['safetensors', 'sharded', 'bin'])
@pytest.mark.parametrize('prefix', ['model.', 'backbone.model.', 'backbone.', ''])
def test_init_cfg(form, prefix, tmp_path):
    path = write({prefix + key: value for key, value in imagenet_state().items()}, tmp_path, form)
    model = MambaVision(SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    model.init_weights()
    expected = fill(MambaVision(SMALL)).state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items()
               if not key.startswith('outnorm') and not key.endswith('num_batches_tracked'))


def test_create_model(tmp_path):
    build = partial(create_model, num_classes=10, image_size=64, dim=16, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))
    model, image = build().eval(), torch.rand(1, 3, 64, 64)
    path = write({f'model.{key}': value for key, value in model.state_dict().items()}, tmp_path, 'safetensors')
    assert torch.equal(build(pretrained=path).eval()(image), model(image))
    features = build(pretrained=str(path), features_only=True).eval()(image)
    assert torch.equal(features[3], model.forward_intermediates(image, intermediates_only=True)[3])


def test_inferencer_and_mmengines_loader(segmentor_files, tmp_path):
    config, checkpoint = segmentor_files
    state = torch.load(checkpoint)['state_dict']
    expected = Inferencer(config, checkpoint, device='cpu', show_progress=False)
    path = write({key.replace('backbone.', 'backbone.model.'): value for key, value in state.items()}, tmp_path,
                 'safetensors')
    found = Inferencer(config, path, device='cpu', show_progress=False).model
    assert all(torch.equal(value, state[key]) for key, value in found.state_dict().items())
    enforce()
    for value in expected.model.state_dict().values():
        value.zero_()
    load_checkpoint(expected.model, str(path))
    assert all(torch.equal(value, state[key]) for key, value in expected.model.state_dict().items())


def test_a_model_of_ones_own_that_holds_a_model_keeps_its_names(tmp_path):
    enforce()
    wrapper = torch.nn.ModuleDict(dict(model=MambaVision(SMALL)))
    torch.save(fill(wrapper).state_dict(), tmp_path / 'w.pth')
    again = torch.nn.ModuleDict(dict(model=MambaVision(SMALL)))
    load_checkpoint(again, str(tmp_path / 'w.pth'))
    assert all(torch.equal(value, wrapper.state_dict()[key]) for key, value in again.state_dict().items())


def test_load_from_and_resume(tmp_path):
    first = runner(tmp_path / 'first')
    path = write(weights(first.model), tmp_path, 'safetensors')
    second = runner(tmp_path / 'second', load_from=str(path), randomness=dict(seed=1))
    second.load_or_resume()
    assert all(torch.equal(value, weights(first.model)[key]) for key, value in weights(second.model).items())
    with pytest.raises(CheckpointError, match=r'holds weights, and not how far their training was.\n.*load_from='):
        runner(tmp_path / 'third', load_from=str(path), resume=True).train()


def test_tools(segmentor_files, tool, shapes, tmp_path):
    config, checkpoint = segmentor_files
    path = write(torch.load(checkpoint)['state_dict'], tmp_path, 'sharded')
    result = tool('test', config, path, '--cfg-options', f'data_root={shapes}')
    assert result.code == 0, result.err[-2000:]
    result = tool('train', config, '--resume', path, '--cfg-options', f'data_root={shapes}')
    assert result.code == 2 and f'{path} can not be resumed from' in result.err
    result = tool('infer', path, shapes / 'val/000000.png')
    assert 'is a checkpoint: name its config before it' in result.errors[0]
    result = tool('publish', path, 'w.safetensors')
    assert result.errors == ['error: w.safetensors: a file as torch.save writes it is published; name it .pth']
    result = tool('publish', path)
    assert result.code == 0 and (tmp_path / result.out.strip()).name.startswith('model-')
