"""The table of defaults in docs/data.md, and that settings of the user lead."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmvision_mamba.errors import ConfigError
from mmvision_mamba.preflight.training_defaults import CONFIGS, training_defaults


def defaults(what='boxes', images=1000, side=500, cores=4, gpu=True, **given_):
    return training_defaults(what, images, side, cores, gpu, given_)


@pytest.mark.parametrize(('images', 'epochs', 'interval', 'most'), [
    (1, 100, 5, 2), (3, 100, 5, 2), (50, 100, 5, 5), (1000, 100, 5, 16), (4000, 30, 1, 16), (10_000, 12, 1, 16),
    (118_000, 12, 1, 16)])
def test_detectors(images, epochs, interval, most):
    found = defaults(images=images)
    assert found.options['train_cfg.max_epochs'] == epochs and found.most_per_batch == most
    assert found.options['train_cfg.val_interval'] == found.options['default_hooks.checkpoint.interval'] == interval
    assert found.options['param_scheduler.1.milestones'] == {100: [75, 92], 30: [22, 28], 12: [9, 11]}[epochs]
    assert defaults(images=images, gpu=False).most_per_batch is None


@pytest.mark.parametrize(('images', 'iterations', 'warm_up'), [(3, 75, 7), (400, 10_000, 500), (100_000, 300_000, 500)])
def test_segmentors(images, iterations, warm_up):
    options = defaults('maps', images).options
    assert options['train_cfg.max_iters'] == options['param_scheduler.1.end'] == iterations
    assert options['param_scheduler.0.end'] == options['param_scheduler.1.begin'] == warm_up
    assert options['train_cfg.val_interval'] == max(iterations // 20, 1)


@pytest.mark.parametrize(('what', 'side', 'size'), [
    ('boxes', 64, 320), ('boxes', 256, 416), ('boxes', 480, 768), ('boxes', 500, None), ('outlines', 4000, None),
    ('boxes', None, None), ('maps', 64, 256), ('maps', 300, 320), ('maps', 512, None), ('maps', 5000, None)])
def test_sizes(what, side, size):
    assert defaults(what, side=side).options.get('custom_data.size') == size


def test_others_follow_from_what_the_user_sets():
    options = defaults(**{'train_cfg.max_epochs': 8}).options
    assert options['param_scheduler.1.milestones'] == [6, 7] and options['train_cfg.val_interval'] == 1
    options = defaults('maps', **{'train_dataloader.batch_size': 16}).options
    assert options['train_cfg.max_iters'] == 6250
    assert defaults(**{'train_dataloader.batch_size': 16}).most_per_batch is None
    assert defaults('maps', **{'train_cfg.max_iters': 1}).options['param_scheduler.1.end'] == 4
    for value in (0, -1, 'many', 1.5, True):
        with pytest.raises(ConfigError, match=r'train_cfg.max_epochs is .*: expected a whole number above 0'):
            defaults(**{'train_cfg.max_epochs': value})


@given(st.sampled_from(list(CONFIGS)), st.integers(1, 10**6), st.none() | st.integers(1, 10**5), st.integers(1, 512))
def test_all_are_sound(what, images, side, cores):
    options = training_defaults(what, images, side, cores, True, {}).options
    length = options.get('train_cfg.max_epochs', options.get('train_cfg.max_iters'))
    assert 1 <= options['train_cfg.val_interval'] <= length and 1 <= options['train_dataloader.num_workers'] <= 8
    assert options.get('custom_data.size', 32) % 32 == 0
    steps = options.get('param_scheduler.1.milestones', [1])
    assert steps == sorted(steps) and steps[0] > 0 and steps[-1] <= length
    assert options.get('param_scheduler.1.begin', 0) < options['param_scheduler.1.end']
