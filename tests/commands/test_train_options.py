"""tools/train.py: --deterministic and --on-divergence."""
import json

import pytest
import torch

WEIGHTS = 'state_dict'


@pytest.fixture
def nondeterministic_afterwards():
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False


@pytest.mark.parametrize('kind', ['segmentor', pytest.param('detector', marks=pytest.mark.slow)])
def test_deterministic_runs_are_equal_bit_for_bit(kind, tool, configs, shapes, tmp_path, nondeterministic_afterwards):
    weights = []
    for i in range(2):
        torch.rand(i)  # another state of the generators to start from
        result = tool('train', getattr(configs, kind), '--deterministic', '--work-dir', tmp_path / f'wd{i}',
                      '--cfg-options', f'data_root={shapes}', 'train_cfg.val_interval=4')
        assert result.code == 0, result.err[-3000:]
        assert torch.are_deterministic_algorithms_enabled()
        weights.append(torch.load(tmp_path / f'wd{i}/iter_4.pth', weights_only=False)[WEIGHTS])
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    text = (tmp_path / 'wd0' / f'{kind}.py').read_text()
    assert 'randomness = dict(deterministic=True, seed=0)' in text


@pytest.fixture
def diverging(tool, configs, shapes, tmp_path):
    def train(*options):
        return tool('train', configs.segmentor, '--work-dir', tmp_path / 'wd', *options, '--cfg-options',
                    f'data_root={shapes}', 'optim_wrapper.optimizer.lr=1e30', 'param_scheduler=[]',
                    'default_hooks.checkpoint.interval=1')
    return train


def test_a_diverged_run_stops_and_names_its_images(diverging, shapes, tmp_path):
    result = diverging()
    assert result.code == 2 and len(result.errors) == 1 and 'not finite at iteration 2' in result.errors[0]
    report = json.loads((tmp_path / 'wd/divergence/iter_2.json').read_text())
    images = report['processes'][0]['images']
    assert len(images) == 2 and all(image.startswith(str(shapes / 'train')) for image in images)
    assert {'loss', 'decode.loss_ce', 'aux.loss_ce'} <= set(report['processes'][0]['losses'])
    assert 'backbone' in report['gradient_norms'] and report['learning_rates']['lr']


@pytest.mark.slow
def test_a_diverged_run_is_rolled_back_until_it_gives_up(diverging, tmp_path):
    result = diverging('--on-divergence', 'rollback')
    assert result.code == 2 and 'last good checkpoint is' in result.err
    assert "action='rollback'" in (tmp_path / 'wd/segmentor.py').read_text()
    assert (result.out + result.err).count('Rolled back to') == 5


def test_the_largest_batch_may_be_one_image(tool, configs, shapes, tmp_path):
    """UperNet normalises a map that is pooled to 1 × 1: of one image alone, one value per channel."""
    result = tool('train', configs.segmentor, '--auto-batch', '1', '--work-dir', tmp_path / 'wd', '--cfg-options',
                  f'data_root={shapes}', 'train_cfg.max_iters=1', 'train_cfg.val_interval=4')
    assert result.code == 0, result.err[-3000:]
    assert '--auto-batch: 1 images per process' in result.out
