"""Loss or gradients that are no numbers, losses that explode, and what is done about each; normal runs go on."""
import contextlib
import json
import math

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.optim import AmpOptimWrapper, OptimWrapper, OptimWrapperDict
from mmengine.registry import MODELS, OPTIM_WRAPPERS
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement

from mmvision_mamba.engine import GuardedAmpOptimWrapper, GuardedOptimWrapper
from mmvision_mamba.engine.hooks import divergence as divergence_hook
from mmvision_mamba.errors import ConfigError, DivergenceError

from ...helpers.tiny_training import TinyModel, config, equal, runner, weights


@MODELS.register_module(force=True)
class Diverging(TinyModel):
    """Its loss at call n is multiplied by `factors[n]`; its gradient, where that is 'gradient', by infinity."""

    def __init__(self, factors):
        super().__init__()
        self.factors = factors
        self.calls = 0

    def forward(self, inputs, label, img_path, mode='loss'):
        out = super().forward(inputs, label, img_path, mode)
        if mode == 'loss':
            self.calls += 1
            factor = self.factors.get(self.calls, 1.)
            if factor == 'gradient':
                self.net[0].weight.register_hook(lambda grad: grad * math.inf if self.calls in self.factors else grad)
            else:
                out['loss_cls'] = out['loss_cls'] * factor
        return out


def run(work_dir, factors, action='stop', hook=(), **options):
    options.setdefault('optim_wrapper', dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01)))
    return runner(work_dir, model=dict(type='Diverging', factors=factors), hooks=[
        dict(type='DivergenceHook', action=action, **dict(hook))], **options)


def reports(work_dir):
    return {path.name: json.loads(path.read_text()) for path in (work_dir / 'divergence').glob('*.json')}


@pytest.mark.parametrize('factor', [math.nan, math.inf, 'gradient'])
def test_stop_names_the_batch(tmp_path, factor):
    diverging = run(tmp_path, {13: factor})
    with pytest.raises(DivergenceError, match=r'not finite at iteration 13') as error:
        diverging.train()
    assert f'the last good checkpoint is {tmp_path}/iter_10.pth' in str(error.value)
    assert sorted(path.name for path in tmp_path.glob('iter_*')) == ['iter_10.pth', 'iter_5.pth']
    report, = reports(tmp_path).values()
    assert report['iteration'] == 13 and report['processes'][0]['images'] == diverging.model.seen[-1]
    assert report['problem'] == ('the gradient' if factor == 'gradient' else 'the loss') + ' is not finite'
    assert set(report['processes'][0]['losses']) == {'loss', 'loss_cls'} and report['action'] == 'stop'
    assert set(report['gradient_norms']) == {'data_preprocessor', 'net'} and 'lr' in report['learning_rates']
    assert all(torch.isfinite(p).all() for p in diverging.model.parameters()), 'before the weights are updated'


def test_skip_leaves_the_batch_out(tmp_path):
    skipping = run(tmp_path / 'a', {13: math.nan, 14: 'gradient', 20: math.inf}, 'skip')
    skipping.train()
    assert skipping.iter == 40 and set(reports(tmp_path / 'a')) == {'iter_13.json', 'iter_14.json', 'iter_20.json'}
    # like a run whose loss was zero there: plain SGD doesn't move
    zero = run(tmp_path / 'b', {13: 0., 14: 0., 20: 0.})
    zero.train()
    assert equal(weights(skipping.model), weights(zero.model))
    with pytest.raises(DivergenceError, match='iteration 18'):
        run(tmp_path / 'c', dict.fromkeys(range(13, 30), math.nan), 'skip').train()


@pytest.mark.parametrize('by_epoch', [False, True])
def test_rollback_returns_to_the_checkpoint_with_a_lower_rate(tmp_path, by_epoch):
    rates = []

    class Recording(torch.optim.SGD):
        def step(self, *args, **kwargs):
            rates.append(self.param_groups[0]['lr'])
            return super().step(*args, **kwargs)

    from mmengine.registry import OPTIMIZERS
    OPTIMIZERS.register_module(name='Recording', module=Recording, force=True)
    options = dict(optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='Recording', lr=0.01)),
                   by_epoch=by_epoch, param_scheduler=[dict(type='LinearLR', start_factor=0.5, by_epoch=False, end=20)])
    rolled = run(tmp_path, {15: math.nan}, 'rollback', **options)
    rolled.train()
    first = 12 if by_epoch else 10  # iterations of the checkpoint
    assert rolled.iter == (42 if by_epoch else 40)
    assert len(rates) == rolled.iter + 14 - first
    assert rates[14] == pytest.approx(rates[first] / 2)
    assert rates[-1] == pytest.approx(0.005)
    assert list(reports(tmp_path)) == ['iter_15.json']
    if by_epoch:  # the epoch begins again
        assert rolled.model.seen[15:18] == rolled.model.seen[12:15]
    else:  # the data goes on
        plain = run(tmp_path / 'plain', {})
        plain.train()
        assert rolled.model.seen[:40] == plain.model.seen[:40]


def test_rollback_restores_the_averaged_weights_and_gives_up(tmp_path):
    diverging = runner(tmp_path, model=dict(type='Diverging', factors=dict.fromkeys(range(13, 99), math.nan)), hooks=[
        dict(type='EMAHook'), dict(type='DivergenceHook', action='rollback')])
    with pytest.raises(DivergenceError):
        diverging.train()
    saved = torch.load(tmp_path / 'iter_10.pth', weights_only=False)
    averaged = next(h for h in diverging.hooks if type(h).__name__ == 'EMAHook').ema_model.module.state_dict()
    assert equal(saved['state_dict'], averaged)
    assert diverging.model.calls == 12 + 1 + 5  # attempts, each of which fails at once
    with pytest.raises(DivergenceError, match='none yet'):
        run(tmp_path / 'early', {3: math.nan}, 'rollback').train()


def test_explosion(tmp_path):
    exploding = dict.fromkeys(range(25, 99), 30.)
    settings = dict(window=20, patience=3)
    seldom = dict(train_cfg=dict(by_epoch=False, max_iters=30, val_interval=30), checkpoint=dict(interval=30))
    with pytest.raises(DivergenceError, match=r'more than 10 times its median of .* for 3 iterations at iteration 27'):
        run(tmp_path / 'a', exploding, hook=settings, **seldom).train()
    # not in a row; not asked for; within the first 100 iterations
    run(tmp_path / 'b', dict.fromkeys((22, 23, 25, 26, 28, 30), 30.), hook=settings, **seldom).train()
    run(tmp_path / 'c', exploding, hook=dict(settings, factor=None), **seldom).train()
    run(tmp_path / 'd', exploding, **seldom).train()
    # checkpoints of the time when it exploded are not returned to, and the one before is kept meanwhile
    rolled = run(tmp_path / 'e', dict.fromkeys((25, 26, 27), 30.), 'rollback', hook=settings,
                 **{**seldom, 'checkpoint': dict(interval=1, max_keep_ckpts=1, save_begin=22)})
    rolled.train()
    assert len(rolled.model.seen) == 30 + 27 - 24
    assert [path.name for path in (tmp_path / 'e').glob('iter_*')] == ['iter_30.pth']


def test_skip_leaves_out_all_that_was_accumulated(tmp_path):
    wrapper = dict(type='OptimWrapper', accumulative_counts=3, optimizer=dict(type='SGD', lr=0.01))
    skipping = run(tmp_path / 'a', {13: math.nan}, 'skip', optim_wrapper=wrapper)
    skipping.train()
    assert list(reports(tmp_path / 'a')) == ['iter_15.json'], 'looked at before the update'
    zero = run(tmp_path / 'b', dict.fromkeys((13, 14, 15), 0.), optim_wrapper=wrapper)
    zero.train()
    assert equal(weights(skipping.model), weights(zero.model))


@OPTIM_WRAPPERS.register_module(force=True)
class ScaledOnCPU(AmpOptimWrapper):
    """`AmpOptimWrapper` with a scaler for CPUs, where the original refuses to be built."""

    def __init__(self, **kwargs):
        OptimWrapper.__init__(self, **kwargs)
        self._scale_update_param, self.cast_dtype = None, torch.bfloat16
        self.loss_scaler = torch.amp.GradScaler('cpu', init_scale=1024., growth_interval=10)

    def optim_context(self, model):
        return OptimWrapper.optim_context(self, model)


@OPTIM_WRAPPERS.register_module(force=True)
class GuardedScaledOnCPU(GuardedAmpOptimWrapper, ScaledOnCPU):
    """As a user's own wrapper would be guarded."""


@pytest.mark.parametrize('type_', ['ScaledOnCPU', 'GuardedScaledOnCPU'])
def test_a_loss_scaler_may_meet_infinite_gradients(tmp_path, type_):
    wrapper = dict(type=type_, optimizer=dict(type='SGD', lr=0.01))
    scaled = run(tmp_path / 'a', {13: 'gradient'}, optim_wrapper=wrapper)
    scaled.train()
    assert scaled.iter == 40 and scaled.optim_wrapper.loss_scaler.get_scale() != 1024 and not reports(tmp_path / 'a')
    with pytest.raises(DivergenceError):
        run(tmp_path / 'b', {13: math.nan}, optim_wrapper=wrapper).train()
    # the scale is resumed too
    resumed = run(tmp_path / 'a', {}, optim_wrapper=wrapper, resume=True)
    resumed.train()
    assert resumed.optim_wrapper.loss_scaler.state_dict() == scaled.optim_wrapper.loss_scaler.state_dict()


def test_mmengines_wrappers_are_replaced_by_guarded_ones(tmp_path):
    training = run(tmp_path, {})
    before = training.cfg.pretty_text
    training.train()
    assert type(training.optim_wrapper) is GuardedOptimWrapper
    assert training.cfg.pretty_text == before and 'Guarded' not in before
    assert training.optim_wrapper.guard is None and not training.model._forward_hooks, 'nothing is left of the hook'
    optimizer = training.optim_wrapper.optimizer
    for given in (optimizer, dict(type='SGD', lr=0.01)):
        for type_ in ('OptimWrapper', 'mmengine.OptimWrapper', OptimWrapper):
            assert type(training.build_optim_wrapper(dict(type=type_, optimizer=given))) is GuardedOptimWrapper
        assert type(training.build_optim_wrapper(dict(optimizer=given))) is GuardedOptimWrapper
        assert type(training.build_optim_wrapper(dict(type='ScaledOnCPU', optimizer=given))) is ScaledOnCPU
    same_name = type('OptimWrapper', (OptimWrapper,), {})
    assert type(training.build_optim_wrapper(dict(type=same_name, optimizer=optimizer))) is same_name
    built = OptimWrapper(optimizer)
    assert training.build_optim_wrapper(built) is built


@pytest.mark.parametrize('action', ['rollback', 'skip'])
@pytest.mark.parametrize('name', ['ScaledOnCPU', 'OptimWrapperDict'])
def test_a_wrapper_that_can_not_be_held_back(tmp_path, action, name):
    training = run(tmp_path, {}, action, optim_wrapper=dict(type='ScaledOnCPU', optimizer=dict(type='SGD', lr=0.01)),
                   param_scheduler=None)
    if name == 'OptimWrapperDict':
        training.optim_wrapper = dict(all=OptimWrapper(torch.optim.SGD(training.model.parameters(), lr=0.01)))
    with pytest.raises(ConfigError, match=rf'{action}: {name} can not be kept from .* of type OptimWrapper or'):
        training.train()
    assert not training.model.seen, 'before training'


@OPTIM_WRAPPERS.register_module(force=True)
class AllAtOnce(OptimWrapperDict):
    """Several optimisers, all of which step at each loss."""

    def optim_context(self, model):
        return contextlib.nullcontext()

    def update_params(self, loss):
        loss.backward()
        for wrapper in self.values():
            wrapper.step()
            wrapper.zero_grad()


def test_several_optimisers_are_stopped_after_the_update(tmp_path):
    training = run(tmp_path, {13: math.nan}, param_scheduler=None)
    first, last = (OptimWrapper(torch.optim.SGD(training.model.net[i].parameters(), lr=0.01)) for i in (0, 5))
    training.optim_wrapper = AllAtOnce(first=first, last=last)
    with pytest.raises(DivergenceError, match='the loss is not finite at iteration 13: loss = nan, loss_cls = nan'):
        training.train()


def test_mmengines_own_runner_is_stopped_after_the_update(tmp_path):
    settings = config(tmp_path, model=dict(type='Diverging', factors={13: math.nan}),
                      custom_hooks=[dict(type='DivergenceHook')], experiment_name=f'stock {tmp_path.name}')
    with pytest.raises(DivergenceError, match='the loss is not finite at iteration 13'):
        Runner.from_cfg(Config(settings)).train()
    assert list(reports(tmp_path)) == ['iter_13.json']


def test_images_of_a_batch():
    sample = BaseDataElement(metainfo=dict(img_path='a b.png'))
    assert divergence_hook._images(dict(inputs=[], data_samples=[sample])) == ['a b.png']
    assert divergence_hook._images(dict(img_path=['x'])) == ['x'] and divergence_hook._images([1]) == []


def test_wrong_action():
    with pytest.raises(ValueError, match='stop, rollback, skip'):
        divergence_hook.DivergenceHook(action='halt')


class Scripted(Hook):
    """Multiplies the losses of the run's n-th batch by `factors[n]`, and interrupts after iteration `interrupt`."""

    def __init__(self, factors, interrupt=None):
        self.factors, self.interrupt, self.rates = factors, interrupt, {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        number = runner.train_dataloader.batches  # counts on where the run resumes, or is rolled back
        runner.model.calls, runner.model.factors = 0, {1: self.factors.get(number, 1.)}

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.rates[runner.iter + 1] = runner.optim_wrapper.get_lr()['lr']
        if self.interrupt and runner.train_dataloader.batches == self.interrupt:
            raise KeyboardInterrupt


def decided(work_dir, interrupts, factors, action, **settings):
    """Message, iteration, rates and weights at the end of a run that is interrupted after some of its batches."""
    rates, at = {}, iter([*interrupts, None])
    for interrupt in at:
        training = run(work_dir, {}, action, dict(window=8, patience=4, **settings), resume=True,
                       checkpoint=dict(interval=2, max_keep_ckpts=2, save_best=None),
                       param_scheduler=[dict(type='LinearLR', start_factor=0.5, by_epoch=False, end=30)])
        script = Scripted(factors, interrupt)
        training.register_hook(script)
        message = None
        try:
            training.train()
        except KeyboardInterrupt:
            assert interrupt
        except DivergenceError as error:
            message = str(error).splitlines()[0].replace(str(work_dir), '')
        rates.update(script.rates)
        kept = sorted(path.name for path in work_dir.glob('*.pth'))
    return message, training.iter, rates, kept, weights(training.model)


@pytest.mark.parametrize(('interrupts', 'factors', 'action', 'settings'), [
    ((23,), dict.fromkeys(range(20, 29), 30.), 'stop', {}),  # in the streak that ends the run at batch 23
    ((11, 21, 22), dict.fromkeys(range(20, 24), 30.), 'rollback', {}),
    ((25,), dict.fromkeys(range(20, 24), 30.), 'rollback', {}),  # after the rollback, before the next checkpoint
    ((28, 33), {21: math.nan, 30: math.nan, 31: math.nan}, 'rollback', {}),
    ((23, 27), dict.fromkeys((21, 24, 27, 30), math.nan), 'rollback', dict(max_attempts=2)),
    ((17,), dict.fromkeys(range(14, 30), math.nan), 'skip', {}),
    ((19, 25), dict.fromkeys((14, 15, 16, 22), math.nan), 'skip', {}),
], ids=range(7))
def test_a_resumed_run_decides_as_one_in_one_go(tmp_path, interrupts, factors, action, settings):
    whole = decided(tmp_path / 'whole', (), factors, action, **settings)
    parts = decided(tmp_path / 'parts', interrupts, factors, action, **settings)
    assert whole[:4] == parts[:4]
    assert equal(whole[4], parts[4])
