"""With a new schedule a resumed run has the rates of a run that had it from the start, and its own moments."""
import pytest
import torch

from mmvision_mamba.errors import CheckpointError

from ..helpers.tiny_training import Hook, equal, runner, weights

WARMUP = dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10)


def optimizer(**options):
    return dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01) | options)


LONGER = dict(
    iterations=dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=60, val_interval=10),
                    param_scheduler=[WARMUP, dict(type='CosineAnnealingLR', by_epoch=False, begin=10, end=60)]),
    epochs=dict(by_epoch=True, train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=2),
                param_scheduler=[WARMUP, dict(type='MultiStepLR', by_epoch=True, milestones=[5, 9], gamma=0.5),
                                 dict(type='CosineAnnealingLR', begin=2, end=12, by_epoch=True,
                                      convert_to_iter_based=True)]),
    groups=dict(train_cfg=dict(type='IterBasedTrainLoop', max_iters=60, val_interval=10),
                param_scheduler=[dict(type='PolyLR', power=0.9, begin=0, end=60, by_epoch=False)],
                optim_wrapper=optimizer(lr=0.02, weight_decay=0.2) | dict(
                    paramwise_cfg=dict(custom_keys={'net.0': dict(lr_mult=0.1)}))))
SHORT = dict(iterations={}, epochs=dict(by_epoch=True), groups=dict(optim_wrapper=optimizer() | dict(
    paramwise_cfg=dict(custom_keys={'net.0': dict(lr_mult=0.1)}))))


class _Rates(Hook):
    """The settings of each update, and the state of the optimiser before the first."""

    def __init__(self):
        self.rates, self.state = [], None

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.param_groups
        self.rates.append([(group['lr'], group['weight_decay'], group['initial_lr']) for group in groups])
        if self.state is None:
            self.state = {i: {key: value.clone() for key, value in state.items()} for i, state in
                          enumerate(runner.optim_wrapper.optimizer.state.values())}


def train(work_dir, new_schedule=False, **options):
    run, rates = runner(work_dir, **options), _Rates()
    run.new_schedule = new_schedule
    run.register_hook(rates)
    said = []
    run.logger.warning = said.append
    run.train()
    return run, rates, '\n'.join(said)


@pytest.mark.parametrize('kind', LONGER)
def test_rates_are_those_of_the_new_schedule_and_moments_the_checkpoints(tmp_path, kind):
    whole, wanted, _ = train(tmp_path / 'whole', **LONGER[kind])
    short, _, _ = train(tmp_path / 'short', **SHORT[kind])
    done = short.iter
    run, found, said = train(tmp_path / 'short', True, resume=True, **LONGER[kind])
    assert run.iter == whole.iter and found.rates == wanted.rates[done:]
    moments = short.optim_wrapper.optimizer.state.values()
    for i, state in enumerate(moments):
        assert all(torch.equal(state[key], found.state[i][key]) for key in state)
    assert "the checkpoint's is in force" not in said and "the config's is in force" in said


def test_without_the_option_the_checkpoints_stays_in_force(tmp_path):
    train(tmp_path)
    run, found, said = train(tmp_path, resume=True, **LONGER['iterations'], optim_wrapper=optimizer(lr=0.02))
    assert run.iter == 60 and found.rates[0][0][2] == 0.01
    assert "To train on with the config's: --new-schedule" in said


def test_a_schedule_that_the_checkpoints_can_not_be_taken_for_names_the_option(tmp_path):
    train(tmp_path, **SHORT['groups'])
    with pytest.raises(CheckpointError, match='--new-schedule'):
        train(tmp_path, resume=True, **LONGER['groups'])


@pytest.mark.parametrize('new_schedule', [False, True])
def test_where_nothing_differs_it_goes_on_bit_for_bit(tmp_path, new_schedule):
    whole, _, _ = train(tmp_path / 'whole')
    (tmp_path / 'wd').mkdir()
    halfway = runner(tmp_path / 'wd', checkpoint=dict(max_keep_ckpts=-1))
    halfway.train()
    rest, _, said = train(tmp_path / 'rest', new_schedule, resume=True, load_from=str(tmp_path / 'wd/iter_20.pth'))
    assert equal(weights(whole.model), weights(rest.model)) and not said


def test_a_finished_run_says_so_and_how_to_go_on(tmp_path):
    for kind, length in (('iterations', 'max_iters=80'), ('epochs', 'max_epochs=14')):
        train(tmp_path / kind, **SHORT[kind])
        _, rates, said = train(tmp_path / kind, resume=True, **SHORT[kind])
        assert 'this training is finished' in said and rates.rates == []
        assert f'--resume --new-schedule --cfg-options train_cfg.{length}' in said


def test_another_optimiser_has_no_moments_to_keep(tmp_path):
    train(tmp_path)
    with pytest.raises(CheckpointError, match='another optimizer'):
        train(tmp_path, True, resume=True, optim_wrapper=optimizer(type='SGD', lr=0.1))
