"""The search for the largest batch that fits, on made-up memory and on a real model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmvision_mamba.errors import ConfigError

from ...helpers import ROOT

CONFIGS = ROOT / 'configs'
auto_batch = pytest.importorskip('mmvision_mamba.commands.steps.auto_batch')


def search(fixed, per_image, free, limit, device='cuda', norm=False, curve=0., unit=1):
    """What `_largest` finds where n images take fixed + n·per_image (+ curve·n²) bytes; and what it tried."""
    tried = []

    def trial(size):
        if norm and size == 1:
            raise ValueError('Expected more than 1 value per channel when training')
        tried.append(size)
        needed = fixed + per_image * size + curve * size * size
        return needed if device == 'cpu' or needed <= free * 1.1 else None  # a GPU with more than may be taken
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auto_batch, '_free_memory', lambda device: free / auto_batch.SHARE)
        return auto_batch._largest(trial, torch.device(device), limit, unit), tried


@settings(deadline=None)
@given(fixed=st.integers(0, 1000), per_image=st.integers(1, 500), room=st.integers(1, 20000),
       limit=st.integers(2, 300), device=st.sampled_from(['cuda', 'cpu']), curve=st.sampled_from([0., 0.1]),
       unit=st.sampled_from([1, 2]))
def test_it_is_the_largest_that_fits(fixed, per_image, room, limit, device, curve, unit):
    free = fixed + per_image * unit + curve * unit**2 + room
    (size, needed, _), tried = search(fixed, per_image, free, limit, device, curve=curve, unit=unit)

    def takes(n):
        return fixed + per_image * n + curve * n * n
    assert size == unit or takes(size) <= free * (1 + 1e-9)
    assert needed == takes(size) and size <= limit and all(n % unit == 0 for n in tried)
    if device == 'cuda' or (curve == 0 and fixed == 0):
        assert size + unit > limit or takes(size + unit) > free * (1 - 1e-9)
    if device == 'cpu' and curve == 0:
        assert all(takes(n) <= free * (1 + 1e-9) for n in tried)  # nothing that could end the process
    assert len(tried) < 14


def test_a_norm_that_needs_two_images_gets_two():
    (size, *_), tried = search(0, 10, 35, 10, norm=True)
    assert size == 3 and min(tried) == 2


@pytest.mark.parametrize('norm', [False, True])
def test_nothing_fits(norm):
    with pytest.raises(ConfigError, match=r'not even [12] image.*with_cp=True'):
        search(0, 100, 50, 10, norm=norm)


def test_other_errors_are_not_taken_for_memory():
    def trial(size):
        raise ValueError('a bug')
    with pytest.raises(ValueError, match='a bug'):
        auto_batch._largest(trial, torch.device('cpu'), 4)


def test_free_memory_is_plausible():
    assert 2**26 < auto_batch._free_memory(torch.device('cpu')) < 2**46


@pytest.mark.parametrize('options, words', [
    (dict(model_wrapper_cfg=dict(type='FullyShard')), 'measures whole models'), (dict(), 'positive number')])
def test_what_it_does_not_go_with(options, words):
    from mmengine.config import Config
    with pytest.raises(ConfigError, match=words):
        auto_batch.use_largest_batch(Config(dict(train_dataloader=dict(batch_size=2), **options)), -1)


def test_a_resumed_run_keeps_its_batch(tmp_path, monkeypatch):
    """Killed and started again, as by torchrun, it ends as it would have."""
    from mmengine.config import Config

    from ...helpers import tiny_training

    def train(work_dir, until, **options):
        cfg = Config(tiny_training.config(work_dir, **options))
        size = auto_batch.use_largest_batch(cfg, 3)
        run = tiny_training.runner(work_dir, **options, train_dataloader=cfg.train_dataloader,
                                   auto_scale_lr=cfg.auto_scale_lr, train_cfg=dict(cfg.train_cfg, max_iters=until))
        run.train()
        return size, run

    monkeypatch.setattr(auto_batch, '_free_memory', lambda device: 2 ** 40)
    size, whole = train(tmp_path / 'whole', 40)
    assert size == 3
    assert train(tmp_path / 'parts', 20, resume=True)[0] == 3, 'nothing to resume from: measured'
    monkeypatch.setattr(auto_batch, 'peak_memory', None)  # nothing is measured from here on
    size, resumed = train(tmp_path / 'parts', 40, resume=True)
    assert size == 3 and len(resumed.model.seen) == 20
    assert tiny_training.equal(tiny_training.weights(whole.model), tiny_training.weights(resumed.model))
    torch.save(dict(state_dict={}), tmp_path / 'other.pth')
    with pytest.raises(ConfigError, match=r'other\.pth does not tell it'):
        train(tmp_path / 'parts', 40, resume=True, load_from=str(tmp_path / 'other.pth'))


def test_the_config_gets_the_batch_and_the_learning_rate_follows(monkeypatch):
    from mmengine.config import Config

    from ...helpers import tiny_training
    monkeypatch.setattr(auto_batch, '_free_memory', lambda device: 2 ** 40)
    cfg = Config(tiny_training.config('unused'))
    assert auto_batch.use_largest_batch(cfg, 7) == 7
    assert cfg.train_dataloader.batch_size == 7
    assert cfg.auto_scale_lr == dict(base_batch_size=4, enable=True)


@pytest.fixture
def classifier(tmp_path):
    """A classification config, whose batches are collated by another function, with images mixed in pairs."""
    pytest.importorskip('mmcv')
    from mmengine.config import Config

    from mmvision_mamba.datasets import make_shapes
    make_shapes(tmp_path / 'shapes', train=9, val=3, size=(48, 64), kind='objects')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('SHAPES_OBJECTS_ROOT', str(tmp_path / 'shapes'))
        cfg = Config.fromfile(CONFIGS / 'mambavision_t_shapes.py')
    cfg.model.update(mixup=dict(mixup_alpha=0.8))
    cfg.model.backbone.arch = dict(dim=16, in_dim=8, depths=(1, 1, 2, 2), num_heads=(1, 1, 2, 4))
    return cfg


def test_a_classifier_whose_images_are_mixed_in_pairs(classifier, monkeypatch):
    monkeypatch.setattr(auto_batch, '_free_memory', lambda device: 2 ** 40)
    assert auto_batch.use_largest_batch(classifier) == 8  # of 9 images
    assert classifier.train_dataloader.batch_size == 8
    with pytest.raises(ConfigError, match='mixup pairs the images'):
        auto_batch.use_largest_batch(classifier, 1)


@pytest.mark.parametrize('hooks, processes, copies', [([], 1, 0), (['EMAHook'], 1, 1), (['EMAHook', 'MESAHook'], 2, 2)])
def test_averaged_weights_and_gradients_under_way_take_their_room(classifier, hooks, processes, copies):
    from mmengine.registry import DATASETS
    classifier.custom_hooks = [dict(type=name) for name in hooks]
    sample = DATASETS.build(classifier.train_dataloader.dataset)[0]
    trial = auto_batch._Trial(classifier, torch.device('cpu'), sample, processes)
    parameters = sum(p.numel() for p in trial.model.parameters())
    assert sum(p.numel() for tensors in trial.held for p in tensors) == copies * parameters
