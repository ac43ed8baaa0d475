"""A run that is killed and resumed ends where the one in one go does."""
import pytest
from mmengine.hooks import EarlyStoppingHook

from ...helpers.tiny_training import Interrupt, InterruptAt, equal, runner, weights

# Nothing is better by 2: the third validation without a better one, at iteration 20, ends the run.
STOPPING = dict(type='EarlyStoppingHook', monitor='toy/acc', min_delta=2., patience=3)
SETTINGS = dict(hooks=[STOPPING], train_cfg=dict(by_epoch=False, max_iters=40, val_interval=5))


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    run = runner(tmp_path_factory.mktemp('whole'), **SETTINGS)
    run.train()
    assert run.iter == 20
    return weights(run.model)


@pytest.mark.parametrize('interrupts', [(6,), (5,), (9, 13), (11, 19), (15,), (20,)], ids=str)
def test_a_resumed_run_stops_at_the_same_iteration(tmp_path, whole, interrupts):
    """The checkpoint of iteration 5 is saved a second time when its validation turns out to be the best."""
    for at in interrupts:
        run = runner(tmp_path, resume=True, **SETTINGS)
        run.register_hook(InterruptAt(at))
        with pytest.raises(Interrupt):
            run.train()
    run = runner(tmp_path, resume=True, **SETTINGS)
    run.train()
    assert run.iter == 20 and equal(weights(run.model), whole)


def test_what_had_stopped_goes_on_with_other_limits_alone(tmp_path):
    """With a threshold the last checkpoint is of after the validation that stopped the run."""
    def train(**options):
        run = runner(tmp_path, resume=True, hooks=[dict(STOPPING, **options)], train_cfg=dict(
            by_epoch=False, max_iters=15, val_interval=5))
        run.train()
        return run.iter, len(run.model.seen)
    assert train(stopping_threshold=-1.) == (5, 5)
    assert train(stopping_threshold=-1.) == (5, 0)
    assert train(stopping_threshold=2.) == (15, 10)


def test_stands_in_for_the_stock_hook(tmp_path):
    run = runner(tmp_path)
    for type_ in ('EarlyStoppingHook', 'mmengine.EarlyStoppingHook', EarlyStoppingHook):
        run._hooks = []
        for hook in (dict(type='CheckpointHook'), dict(STOPPING, type=type_)):
            run.register_hook(hook)
        assert [type(hook).__name__ for hook in run.hooks] == ['ResumableEarlyStoppingHook', 'SafeCheckpointHook']
