"""MESA: the term against its formula, when it begins, and what it goes with."""
import json

import pytest
import torch
from torch.utils.data import Dataset

pytest.importorskip('mmengine')
pytest.importorskip('mmcv')

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS

from mmvision_mamba.engine import MambaVisionRunner
from mmvision_mamba.errors import ConfigError

ARCH = dict(dim=8, in_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 2))
SEEN = {}


@DATASETS.register_module()
class NoiseForMESA(Dataset):
    metainfo = dict(classes=('a', 'b', 'c'))

    def __len__(self):
        return 8

    def __getitem__(self, i):
        return dict(inputs=torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(i)), gt_label=i % 3)


@HOOKS.register_module()
class WatchMESA(Hook):
    """Keeps what the term is computed from, and what comes out."""
    priority = 'LOWEST'

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        term, teacher = runner.model.extra_loss, next(
            hook.ema_model for hook in runner.hooks if type(hook).__name__ == 'EMAHook').module
        if term is not None:
            def watched(inputs, logits):
                found = term(inputs, logits)
                with torch.no_grad():
                    expected = teacher.train(False)(inputs)
                SEEN[runner.iter] = (logits.detach(), expected, found['loss_mesa'])
                return found
            runner.model.extra_loss = watched


def train(work_dir, hooks, **changes):
    cfg = dict(
        model=dict(type='ImageClassifier', num_classes=3, mixup=dict(mixup_alpha=0.8), backbone=dict(
            type='MambaVision', arch=ARCH, out_indices=(3,), norm_layer=None, drop_path_rate=0.5)),
        work_dir=str(work_dir), launcher='none',
        train_dataloader=dict(batch_size=4, num_workers=0, dataset=dict(type='NoiseForMESA'),
                              collate_fn=dict(type='default_collate'), sampler=dict(type='InfiniteSampler')),
        train_cfg=dict(type='IterBasedTrainLoop', max_iters=4),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)), custom_hooks=hooks,
        default_hooks=dict(logger=dict(type='LoggerHook', interval=1)), log_processor=dict(window_size=1),
        randomness=dict(seed=0),
        default_scope='mmengine', log_level='WARNING', experiment_name=work_dir.name)
    runner = MambaVisionRunner.from_cfg(Config({**cfg, **changes}))
    runner.train()
    return runner


EMA = dict(type='EMAHook', momentum=0.5, update_buffers=True)


def test_the_term(tmp_path):
    SEEN.clear()
    runner = train(tmp_path / 'run', [
        EMA, dict(type='MESAHook', weight=0.7, begin=0.5, temperature=2.), dict(type='WatchMESA')])
    assert list(SEEN) == [2, 3], 'from half of the training on'
    for logits, teacher, found in SEEN.values():
        p, q = ((x.double() / 2).softmax(-1) for x in (teacher, logits))
        assert found.item() == pytest.approx(0.7 * float((p * (p / q).log()).sum(1).mean()), rel=1e-4)
        assert found.requires_grad and found.item() > 0
    log = [json.loads(line) for line in next(tmp_path.glob('run/*/vis_data/scalars.json')).read_text().splitlines()]
    assert ['loss_mesa' in line for line in log] == [False, False, True, True]
    for line in log[2:]:
        assert line['loss'] == pytest.approx(line['loss_cls'] + line['loss_mesa'], rel=1e-3)
    assert runner.model.extra_loss is None and not any('mesa' in key for key in runner.model.state_dict())


@pytest.mark.parametrize(('options', 'message'), [
    (dict(weight=0.), 'weight must be positive'), (dict(begin=1.), r'begin must be in \[0, 1\), got 1.0'),
    (dict(temperature=-1.), 'temperature must be positive')])
def test_what_can_not_be(options, message):
    with pytest.raises(ConfigError, match=message):
        HOOKS.build(dict(type='MESAHook', **options))


def test_no_average_to_learn_from(tmp_path):
    with pytest.raises(ConfigError, match=r"add dict\(type='EMAHook'\) to custom_hooks"):
        train(tmp_path / 'none', [dict(type='MESAHook')])
