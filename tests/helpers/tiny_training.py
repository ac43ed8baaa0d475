"""A training run of milliseconds an iteration whose every part is random: augmentation, dropout, batch order."""
import random

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, METRICS, MODELS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from mmvision_mamba.engine import MambaVisionRunner
from mmvision_mamba.engine.data_loader import ResumableDataLoader

from .fresh_start import forget_earlier_runs


@DATASETS.register_module(force=True)
class NoisyPoints(Dataset):
    """Points with a label, jittered with each of the three generators."""
    metainfo = dict(classes=('left', 'right'))

    def __init__(self, length=22, augment=True):
        self.length, self.augment = length, augment

    def __len__(self):
        return self.length

    def __getitem__(self, i):
        x = torch.full((3, 8, 8), i / self.length)
        if self.augment:
            x = x + random.gauss(0, 0.1) + np.random.normal(0, 0.1) + torch.randn(3, 8, 8) / 10
        return dict(inputs=x, label=i % 2, img_path=f'/data/{i}.png')


@MODELS.register_module(force=True)
class TinyModel(BaseModel):
    """Convolution, BatchNorm, dropout. `nan_at`: batches with that image have a loss that is no number.

    `ballast`: megabytes of further weights, for checkpoints that take a while to write.
    """

    def __init__(self, nan_at=None, ballast=0):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(),
                                 nn.Linear(288, 2))
        self.ballast = nn.Parameter(torch.zeros(int(ballast * 2 ** 18)), requires_grad=False)
        self.nan_at = nan_at
        self.seen = []

    def forward(self, inputs, label, img_path, mode='loss'):
        x = torch.stack(inputs)
        label = torch.as_tensor(label)
        if mode == 'predict':
            return [dict(right=bool(r)) for r in self.net(x).argmax(1) == label]
        self.seen.append(list(img_path))
        loss = F.cross_entropy(self.net(x).float(), label)
        if self.nan_at is not None and f'/data/{self.nan_at}.png' in img_path:
            loss = loss * float('nan')
        return dict(loss_cls=loss)


@METRICS.register_module(force=True)
class ToyAccuracy(BaseMetric):
    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        self.results += [sample['right'] for sample in data_samples]

    def compute_metrics(self, results):
        return dict(acc=sum(results) / len(results))


def config(work_dir, by_epoch=False, workers=0, hooks=(), checkpoint=(), **options) -> dict:
    """40 iterations of 4, or 7 epochs of 6, a checkpoint every 5 or every epoch, validation every 10 or 2."""
    loader = dict(num_workers=workers, persistent_workers=workers > 0)
    train = dict(type='EpochBasedTrainLoop', max_epochs=7, val_interval=2) if by_epoch else dict(
        type='IterBasedTrainLoop', max_iters=40, val_interval=10)
    cfg = dict(
        model=dict(type='TinyModel'),
        work_dir=str(work_dir),
        train_dataloader=dict(
            batch_size=4, dataset=dict(type='NoisyPoints'),
            sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True), **loader),
        val_dataloader=dict(batch_size=4, dataset=dict(type='NoisyPoints', augment=False, length=9),
                            sampler=dict(type='DefaultSampler', shuffle=False), **loader),
        train_cfg=train, val_cfg=dict(), val_evaluator=dict(type='ToyAccuracy'),
        optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01)),
        param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10),
                         dict(type='CosineAnnealingLR', by_epoch=False, begin=10, end=40)],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=5),
            checkpoint={**dict(type='CheckpointHook', by_epoch=by_epoch, interval=1 if by_epoch else 5,
                               max_keep_ckpts=2, save_best='auto'), **dict(checkpoint)}),
        custom_hooks=list(hooks),
        randomness=dict(seed=0),
        default_scope='mmengine',
        experiment_name='tiny',
        log_level='WARNING')
    cfg.update(options)
    return cfg


def runner(work_dir, **options) -> MambaVisionRunner:
    from mmengine.config import Config
    forget_earlier_runs()
    return MambaVisionRunner.from_cfg(Config(config(work_dir, **options)))


def weights(model) -> dict:
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class Interrupt(Exception):
    pass


class InterruptAt(Hook):
    """Ends a training by an `Interrupt` after an iteration, after the other hooks."""
    priority = 'LOWEST'

    def __init__(self, iteration):
        self.iteration = iteration

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iteration:
            raise Interrupt


def loader(workers=0, length=22, sampler='InfiniteSampler', **options):
    """A loader of batches of four."""
    built = Runner.build_dataloader(dict(
        batch_size=4, num_workers=workers, dataset=dict(type='NoisyPoints', length=length),
        sampler=dict(type=sampler, shuffle=True), **options), seed=1)
    return ResumableDataLoader.from_loader(built, 1)
