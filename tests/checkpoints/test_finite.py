"""Weights that are NaN or infinite are read, and said."""
import numpy as np
import pytest
import torch

from mmvision_mamba.checkpoints import finite
from mmvision_mamba.checkpoints.reading import read_checkpoint
from mmvision_mamba.errors import ExportError
from mmvision_mamba.export import verify


@pytest.fixture
def read(monkeypatch, tmp_path):
    """read(content): what reading a file of it warns of."""
    said = []
    monkeypatch.setattr(finite, 'warn_once', said.append)

    def run(content, name='a.pth'):
        said.clear()
        torch.save(content, tmp_path / name)
        read_checkpoint(tmp_path / name)
        return list(said)
    return run


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize('key', ['state_dict', 'model', 'ema_state_dict', None])
def test_they_are_counted_and_the_first_is_named_once(key, dtype, read):
    weights = dict(whole=torch.ones(3), words=torch.tensor([True]), none=torch.zeros(0),
                   broken=torch.ones(2, 3).T.to(dtype), more=torch.zeros(2))
    weights['broken'][1, 1], weights['broken'][0, 0] = float('nan'), float('-inf')
    weights['more'][1] = float('inf')
    content = weights if key is None else {key: weights}
    warning, = read(content, f'{key}_{dtype}.pth')
    assert f'{key}_{dtype}.pth: 3 of its weights are NaN or infinite, the first in broken' in warning
    assert not read(content, f'{key}_{dtype}.pth'), 'twice'


def test_other_numbers_of_a_run_are_not_looked_at(read):
    moments = {0: dict(m=torch.tensor(float('nan')))}
    assert not read(dict(state_dict=dict(a=torch.ones(2)), optimizer=dict(state=moments)))
    assert not read(dict(state_dict=dict(a=torch.full((2,), 3e38))))


def test_a_command_that_goes_on_says_so(tool, tmp_path):
    torch.save(dict(state_dict=dict(a=torch.tensor([1, float('nan')]))), tmp_path / 'a.pth')
    run = tool('publish', tmp_path / 'a.pth', tmp_path / 'b.pth')
    assert run.code == 0 and (run.out + run.err).count('1 of its weights are NaN or infinite, the first in a:') == 1


@pytest.mark.parametrize('part', ['backbone', 'segmentor'])
def test_a_model_that_gives_nan_agrees_with_no_file(part):
    outputs = [np.full((1, 2, 4, 4), np.nan, np.float32)]
    with pytest.raises(ExportError, match='gives NaN for random'):
        verify.compare(torch.nn.Module(), part, ['labels'], [('random', outputs[0])], [outputs], lambda _: outputs,
                       'float32')
