"""The length of a training in epochs or iterations, and its schedules."""
import pytest
from mmengine import Config

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.preflight.schedule import set_epochs, set_length


def test_schedules_of_epochs_are_shrunk_and_a_warm_up_of_iterations_stays():
    cfg = Config(dict(train_cfg=dict(max_epochs=36), param_scheduler=[
        dict(type='LinearLR', by_epoch=False, begin=0, end=500),
        dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[27, 33])]))
    set_epochs(cfg, 12)
    warm_up, steps = cfg.param_scheduler
    assert cfg.train_cfg.max_epochs == 12 and (steps.begin, steps.end, steps.milestones) == (0, 12, [9, 11])
    assert (warm_up.begin, warm_up.end) == (0, 500)


def test_no_schedule_becomes_shorter_than_a_slope():
    cfg = Config(dict(train_cfg=dict(max_iters=1000), param_scheduler=[
        dict(type='LinearLR', by_epoch=False, begin=0, end=100),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=100, T_max=900)]))
    set_length(cfg, 2)
    warm_up, cosine = cfg.param_scheduler
    assert (warm_up.begin, warm_up.end) == (0, 2) and (cosine.begin, cosine.T_max) == (0, 2)


@pytest.mark.parametrize('epochs', [0, -1, 1.5, True, '3', None])
def test_epochs_are_a_whole_number(epochs):
    with pytest.raises(ConfigError, match=r'^epochs is .*: expected a whole number above 0'):
        set_epochs(Config(dict(train_cfg=dict(max_epochs=36))), epochs)


def test_a_config_without_a_length_is_named():
    with pytest.raises(ConfigError, match=r'no train_cfg\.max_epochs and no train_cfg\.max_iters'):
        set_epochs(Config(dict(train_cfg=None)), 1)
