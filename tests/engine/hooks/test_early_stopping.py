"""A run that is killed and resumed ends where the one in one go does."""
import pytest
from mmengine.hooks import EarlyStoppingHook

from mmvision_mamba.errors import ConfigError

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


AUTO = dict(type='EarlyStoppingHook', monitor='auto', min_delta=2., patience=3)


@pytest.mark.parametrize(('save_best', 'monitor', 'rule'), [
    ('auto', 'toy/acc', 'greater'), ('val/loss', 'val/loss', 'less')])
def test_by_the_metric_of_the_best_checkpoint(tmp_path, monkeypatch, save_best, monitor, rule):
    """And it says why, and where the best is; resumed, it has ended."""
    options = dict(SETTINGS, hooks=[AUTO, dict(type='ValLossHook')], checkpoint=dict(save_best=save_best, interval=7))

    def train():
        run, said = runner(tmp_path, resume=True, **options), []
        monkeypatch.setattr(run.logger, 'warning', said.append)
        run.train()
        return run, '\n'.join(said)
    run, said = train()
    hook = next(hook for hook in run.hooks if type(hook).__name__ == 'ResumableEarlyStoppingHook')
    assert (run.iter, hook.monitor, hook.rule) == (20, monitor, rule)
    best, = tmp_path.glob('best_*.pth')
    assert f'Training ended early, after iteration 20 of 40: {monitor} has not been better than ' in said
    assert f'in 3 validations. The best checkpoint is {best}.' in said
    assert (tmp_path / 'iter_20.pth').exists(), 'what it ended with, whatever the interval'
    run, said = train()
    assert f'{monitor} had ended this training early: nothing is left' in said
    assert (run.iter, len(run.model.seen)) == (20, 1), 'one batch is tried for the loss of validation'


@pytest.mark.parametrize('at', [6, 10, 14, 19])
def test_killed_and_resumed_it_stops_at_the_same_iteration(tmp_path, at):
    options = dict(SETTINGS, hooks=[AUTO, dict(type='ValLossHook')], checkpoint=dict(save_best='val/loss'))
    run = runner(tmp_path, **options)
    run.register_hook(InterruptAt(at))
    with pytest.raises(Interrupt):
        run.train()
    run = runner(tmp_path, resume=True, **options)
    run.train()
    assert run.iter == 20


def test_a_count_of_another_metric_is_not_taken(tmp_path):
    run = runner(tmp_path, **dict(SETTINGS, hooks=[STOPPING]))
    run.train()
    assert run.iter == 20
    run = runner(tmp_path, resume=True, **dict(SETTINGS, hooks=[
        dict(STOPPING, monitor='val/loss'), dict(type='ValLossHook')]))
    run.train()
    assert run.iter == 40


def test_a_validation_alone_needs_no_training_set(tmp_path):
    """The config that a run with --patience has written names the hook, and is tested with where the data are not."""
    run = runner(tmp_path, hooks=[AUTO], train_dataloader=dict(batch_size=1, dataset=dict(type='NotHere')))
    assert run.val().keys() == {'toy/acc'}


def test_what_is_better_must_be_known(tmp_path):
    run = runner(tmp_path, **dict(SETTINGS, hooks=[AUTO], checkpoint=dict(save_best=None)),
                 val_evaluator=dict(type='ToyAccuracy', prefix='mine'))
    run.val_evaluator.metrics[0].compute_metrics = lambda results: {'score': 1.}
    with pytest.raises(ConfigError, match='is more or less of mine/score better'):
        run.train()
