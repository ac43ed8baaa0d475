"""With a new schedule a resumed run has the rates of a run that had it from the start, and its own moments."""
import copy
import time
import warnings

import pytest
import torch
from mmengine.registry import PARAM_SCHEDULERS

from mmvision_mamba.engine.new_schedule import advance
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


@pytest.mark.parametrize('end', [40, 15])
def test_a_polynomial_schedule_that_has_ended_has_no_next_step_to_check(end, tmp_path):
    """PolyLR divides by the steps that are left; a run is resumed at its end, or past the schedule's."""
    options = dict(param_scheduler=[dict(type='PolyLR', power=0.9, eta_min=1e-4, by_epoch=False, begin=5, end=end)])
    whole, _, _ = train(tmp_path / 'whole', checkpoint=dict(max_keep_ckpts=-1), **options)
    rest, rates, _ = train(tmp_path / 'rest', resume=True, load_from=str(tmp_path / 'whole/iter_20.pth'), **options)
    assert equal(weights(whole.model), weights(rest.model)) and len(rates.rates) == 20
    _, rates, said = train(tmp_path / 'rest', resume=True, **options)
    assert 'this training is finished' in said and rates.rates == []


def test_another_optimiser_has_no_moments_to_keep(tmp_path):
    train(tmp_path)
    with pytest.raises(CheckpointError, match='another optimizer'):
        train(tmp_path, True, resume=True, optim_wrapper=optimizer(type='SGD', lr=0.1))


SCHEDULES = dict(
    usual=[WARMUP, dict(type='MultiStepLR', milestones=[3, 9], gamma=0.3), dict(type='StepLR', step_size=2, begin=4)],
    restarts=[dict(type='ConstantLR', factor=0.5, end=7, by_epoch=False),
              dict(type='CosineRestartLR', periods=[40, 90, 70], restart_weights=[1, 0.5, 0.2], eta_min_ratio=0.01,
                   by_epoch=False)],
    momentum=[dict(type='OneCycleLR', eta_max=0.05, total_steps=300, by_epoch=False),
              dict(type='CosineAnnealingMomentum', T_max=200, eta_min=0.8, by_epoch=False)],
    poly=[dict(type='PolyLR', power=0.9, eta_min=1e-5, begin=10, end=250, by_epoch=False), dict(
        type='ExponentialLR', gamma=0.97)],
    parameter=[dict(type='LinearParamScheduler', param_name='weight_decay', start_factor=0.2, end=90, by_epoch=False),
               dict(type='CosineAnnealingLR', T_max=25, eta_min=1e-6)])


def optimizer_with_groups(numbers=40, optimizer=torch.optim.AdamW):
    """A group a parameter, of seven rates; two of one rate have another weight decay or second beta."""
    return optimizer([dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=0.01 * 0.8 ** (i % 7),
                           weight_decay=0.05 * (i % 2), **(dict(betas=(0.9, 0.99 + 0.005 * (i % 3 == 0)))
                                                           if optimizer is torch.optim.AdamW else dict(momentum=0.9)))
                      for i in range(numbers)], lr=0.01)


def built(schedule, optimizer):
    return [PARAM_SCHEDULERS.build(dict(one), default_args=dict(optimizer=optimizer)) for one in schedule]


def replayed(schedulers, iterations, epochs, per_epoch):
    for i in range(1, iterations + 1):
        for one in schedulers:
            if not one.by_epoch or (i % per_epoch == 0 and i // per_epoch <= epochs):
                one.step()


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('kind', [torch.optim.AdamW, torch.optim.SGD])
@pytest.mark.parametrize('name', SCHEDULES)
def test_groups_of_equal_settings_step_together_to_the_very_values_of_each(name, kind):
    wanted, found = optimizer_with_groups(optimizer=kind), optimizer_with_groups(optimizer=kind)
    plain, quick = built(SCHEDULES[name], wanted), built(SCHEDULES[name], found)
    replayed(plain, 203, 14, 14)
    advance(quick, 203, 14, 14)
    for _ in range(3):  # and from there on
        assert [{key: value for key, value in group.items() if key != 'params'} for group in found.param_groups] == [
            {key: value for key, value in group.items() if key != 'params'} for group in wanted.param_groups]
        for one, other in zip(quick, plain):
            assert one.optimizer is found and one.state_dict() == other.state_dict()
            one.step(), other.step()


class Halving(PARAM_SCHEDULERS.get('StepLR')):
    """Of another's making: it reads what no other does."""

    def _get_value(self):
        return [group['lr'] * (0.5 if group['weight_decay'] else 1) for group in self.optimizer.param_groups]


def test_schedulers_of_other_making_see_all_groups():
    optimizer = optimizer_with_groups(4)
    advance([Halving(optimizer, step_size=1, by_epoch=False)], 1, 0, 10)
    rates = [0.01 * 0.8 ** i for i in range(4)]
    assert [group['lr'] for group in optimizer.param_groups] == [rates[0], rates[1] / 4, rates[2], rates[3] / 4]


def test_a_schedule_that_ends_too_early_leaves_the_optimiser_whole():
    optimizer = optimizer_with_groups(4)
    scheduler, = built([dict(type='OneCycleLR', eta_max=0.05, total_steps=10, by_epoch=False)], optimizer)
    with warnings.catch_warnings(), pytest.raises(ValueError, match='total steps is 10'):
        scheduler.end = 100
        advance([scheduler], 30, 0, 10)
    assert scheduler.optimizer is optimizer and len(scheduler.base_values) == 4


def test_hundreds_of_groups_cost_no_more_than_their_rates():
    """An iteration more must cost the same: 160,000 of them, with a group a parameter, took 100 s."""
    schedule = [WARMUP, dict(type='PolyLR', power=0.9, begin=10, end=9000, by_epoch=False)]

    def seconds(numbers):
        schedulers = built(schedule, optimizer_with_groups(numbers))
        best = []
        for _ in range(3):
            begin = time.process_time()
            advance(copy.deepcopy(schedulers), 2000, 0, 10)
            best.append(time.process_time() - begin)
        return min(best)
    assert seconds(700) < 5 * seconds(7)
