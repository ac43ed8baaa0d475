"""The losses of validation are those that the model has on the validation set, and leave no trace in the training."""
import json
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmvision_mamba.errors import ConfigError

from ...helpers.tiny_training import Interrupt, InterruptAt, NoisyPoints, equal, runner, weights

HOOK = dict(type='ValLossHook')


def logged(work_dir) -> list[dict]:
    return [record for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
            for record in map(json.loads, path.read_text().splitlines())]


def losses(work_dir) -> list[float]:
    return [record['val/loss'] for record in logged(work_dir) if 'val/loss' in record]


@torch.no_grad()
def expected(model) -> float:
    """By hand, in float64, over the nine images of validation."""
    items = [NoisyPoints(9, augment=False)[i] for i in range(9)]
    net = model.net.double().eval()
    logits = net(torch.stack([item['inputs'] for item in items]).double())
    return float(F.cross_entropy(logits, torch.tensor([item['label'] for item in items])))


@pytest.mark.parametrize('by_epoch', [False, True])
def test_it_is_the_mean_over_the_images_whatever_the_batches(tmp_path, by_epoch):
    """Nine images in batches of four: the last batch counts for one image. Not a mean of several validations."""
    run = runner(tmp_path, by_epoch=by_epoch, hooks=[HOOK])
    run.train()
    found = losses(tmp_path)
    assert len(found) == 4 and len(set(found)) == 4
    assert found[-1] == pytest.approx(expected(run.model), rel=1e-5)
    records = [record for record in logged(tmp_path) if 'val/loss' in record]
    assert all(record['val/loss_cls'] == record['val/loss'] and 'toy/acc' in record for record in records)


def test_the_training_is_the_same_bit_for_bit(tmp_path):
    ends = []
    for name, hooks in (('with', [HOOK]), ('without', [])):
        run = runner(tmp_path / name, hooks=hooks)
        run.train()
        ends.append((weights(run.model), torch.rand(1), np.random.rand()))
        assert run.checkpoint_hook.key_indicators == ['toy/acc']  # and the best goes by the same
    assert equal(ends[0][0], ends[1][0]) and ends[0][1:] == ends[1][1:]


@pytest.mark.parametrize('interrupts', [(7,), (10,), (13, 29)], ids=str)
def test_a_resumed_run_has_the_same_losses(tmp_path, interrupts):
    run = runner(tmp_path / 'whole', hooks=[HOOK])
    run.train()
    for at in interrupts:
        parts = runner(tmp_path / 'parts', hooks=[HOOK], resume=True)
        parts.register_hook(InterruptAt(at))
        with pytest.raises(Interrupt):
            parts.train()
    parts = runner(tmp_path / 'parts', hooks=[HOOK], resume=True)
    parts.train()
    assert equal(weights(run.model), weights(parts.model))
    assert losses(tmp_path / 'parts')[-2:] == losses(tmp_path / 'whole')[-2:]


def test_averaged_weights_have_the_loss_of_the_average(tmp_path):
    run = runner(tmp_path, hooks=[dict(type='EMAHook', momentum=0.5), HOOK])
    run.train()
    average = next(hook for hook in run.hooks if type(hook).__name__ == 'EMAHook').ema_model.module
    assert losses(tmp_path)[-1] == pytest.approx(expected(average), rel=1e-5)
    assert losses(tmp_path)[-1] != pytest.approx(expected(run.model), rel=1e-5)


def test_mixed_precision_is_that_of_the_training(tmp_path):
    run = runner(tmp_path, hooks=[HOOK], optim_wrapper=dict(
        type='CPUAmpOptimWrapper', optimizer=dict(type='AdamW', lr=0.01)))
    seen = []
    run.model.net[0].register_forward_hook(
        lambda module, inputs, out: seen.append((module.training, out.dtype)) if not torch.is_grad_enabled() else None)
    run.train()
    types = {dtype for _, dtype in seen}
    assert losses(tmp_path)[-1] == pytest.approx(expected(run.model), rel=0.02)
    assert types == {torch.bfloat16, torch.float32}  # losses; predictions


def test_the_best_checkpoint_may_go_by_it(tmp_path):
    """Less is better; the best's number is the least that was logged."""
    run = runner(tmp_path, hooks=[HOOK], checkpoint=dict(save_best='val/loss'))
    run.train()
    best, = tmp_path.glob('best_val_loss_iter_*.pth')
    found = losses(tmp_path)
    assert best.stem == f'best_val_loss_iter_{10 * (1 + min(range(len(found)), key=found.__getitem__))}'
    assert run.message_hub.get_info('best_score') == pytest.approx(min(found))


def test_a_resumed_run_may_go_by_another_metric(tmp_path):
    """The best accuracy is less than any loss, and is not what a loss has to be less than."""
    first = runner(tmp_path, hooks=[HOOK], train_cfg=dict(type='IterBasedTrainLoop', max_iters=20, val_interval=10))
    first.val_evaluator.metrics[0].compute_metrics = lambda results: dict(acc=0.001)
    first.train()
    run = runner(tmp_path, hooks=[HOOK], resume=True, checkpoint=dict(save_best='val/loss'))
    run.train()
    assert run.message_hub.get_info('best_score') == pytest.approx(min(losses(tmp_path)[2:]))
    assert list(tmp_path.glob('best_val_loss_iter_*.pth')) and list(tmp_path.glob('best_toy_acc_iter_10.pth'))


def test_a_validation_alone_has_it(tmp_path):
    """Also where the config keeps the best checkpoint, which saves none."""
    run = runner(tmp_path, hooks=[HOOK])
    assert run.val()['val/loss'] == pytest.approx(expected(run.model), rel=1e-5)
    assert not list(tmp_path.rglob('*.pth'))


@pytest.mark.parametrize(('options', 'message'), [
    (dict(val_dataloader=None, val_cfg=None, val_evaluator=None), 'needs a validation set'),
    (dict(model=dict(type='NoLoss')), 'NoLoss has no losses')])
def test_what_has_none_is_said_before_the_training(tmp_path, options, message):
    from mmengine.registry import MODELS

    from ...helpers.tiny_training import TinyModel

    @MODELS.register_module(force=True)
    class NoLoss(TinyModel):
        def forward(self, inputs, label, img_path, mode='loss'):
            if mode == 'loss':
                raise NotImplementedError
            return super().forward(inputs, label, img_path, mode)
    run = runner(tmp_path, hooks=[HOOK], checkpoint=dict(save_best=None), **options)
    with pytest.raises(ConfigError, match=message):
        run.train()
    assert run.iter == 0


def test_a_loss_that_is_no_number_is_nobodys_best(tmp_path):
    run = runner(tmp_path, hooks=[HOOK], model=dict(type='TinyModel', nan_at=8), checkpoint=dict(save_best='val/loss'),
                 train_dataloader=dict(batch_size=4, dataset=dict(type='NoisyPoints', length=6), num_workers=0,
                                       sampler=dict(type='InfiniteSampler', shuffle=True)))
    run.train()
    assert all(map(math.isnan, losses(tmp_path))) and not list(tmp_path.glob('best*'))
