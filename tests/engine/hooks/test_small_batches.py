"""Batches that are too small for a norm's statistics train; those that drop_last leaves out are said."""
import pytest
import torch
from mmengine.registry import MODELS
from torch import nn

from mmvision_mamba.errors import ConfigError

from ...helpers.tiny_training import TinyModel, config, runner


@MODELS.register_module(force=True)
class PooledModel(TinyModel):
    """A model with a norm over maps that are pooled to 1 × 1, like a pyramid of pooled maps."""

    def __init__(self, norm='BatchNorm2d', **options):
        super().__init__()
        pooled = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), getattr(nn, norm)(8, **options)
        self.net = nn.Sequential(*pooled, nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))


@pytest.fixture
def train(tmp_path, monkeypatch):
    """train(batch_size, …): what an epoch-based run says, and the run."""
    def run(batch_size, model=('PooledModel', {}), drop_last=False, length=22, **options):
        loader = config(tmp_path, by_epoch=True)['train_dataloader'] | dict(
            batch_size=batch_size, drop_last=drop_last, dataset=dict(type='NoisyPoints', length=length))
        run = runner(tmp_path, by_epoch=True, model=dict(type=model[0], **model[1]), train_dataloader=loader,
                     train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=2, val_interval=2), **options)
        said = []
        for level in ('info', 'warning'):
            monkeypatch.setattr(run.logger, level, said.append)
        run.train()
        return [text for text in said if 'one value per channel' in text or 'drop_last' in text], run
    return run


@pytest.mark.parametrize('norm', ['BatchNorm2d', 'SyncBatchNorm'])
def test_an_epochs_last_image_trains_by_the_running_statistics(norm, train):
    said, run = train(3, ('PooledModel', dict(norm=norm)))
    assert run.iter == 2 * 8 and len(run.model.seen) == 2 * 8, '22 images in batches of 3: the last of one'
    assert sum(map(len, run.model.seen)) == 2 * 22, 'no image is lost'
    assert len(said) == 1 and said[0].startswith('net.2 has one value per channel')
    assert run.model.net[2].num_batches_tracked == 2 * 7, 'the single image changes no statistics'


def test_one_image_in_every_batch_trains(train):
    said, run = train(1)
    norm = run.model.net[2]
    assert len(said) == 1 and run.iter == 2 * 22
    assert not norm.running_mean.any() and (norm.running_var == 1).all()
    assert (norm.weight != 1).any() and norm.bias.any(), 'its scale and shift are learned'
    run.model.eval()
    images = torch.randn(2, 3, 8, 8)
    evaluated = run.model.net(images[:1])
    norm.train()
    with pytest.raises(ValueError, match='more than 1 value'):  # the hook is gone after the training
        run.model.net(images[:1])
    assert torch.isfinite(evaluated).all()


def test_batches_with_statistics_of_their_own_are_left_alone(train):
    said, run = train(2)
    assert not said and run.model.net[2].num_batches_tracked == 2 * 11


def test_a_norm_without_running_statistics_is_named(train):
    with pytest.raises(ConfigError, match=r'net.2 normalises over its batch alone.*\n.*batch_size to 2 or more'):
        train(1, ('PooledModel', dict(track_running_stats=False)))


def test_images_that_no_batch_takes_are_said(train):
    said, run = train(3, drop_last=True)
    assert said == ['drop_last=True: each pass over the data leaves out 1 of 22 images, those of a last batch that is '
                    'smaller than 3.'] and run.iter == 14
    assert not train(2, drop_last=True)[0]
    with pytest.raises(ConfigError, match=r'no batch: a process has 22 images, a batch 23.*\n.*a smaller batch'):
        train(23, drop_last=True)


def test_no_workers_with_their_options(train, tmp_path):
    loader = config(tmp_path, by_epoch=True)['val_dataloader'] | dict(
        num_workers=0, persistent_workers=True, prefetch_factor=4)
    assert train(2, val_dataloader=loader)[1].iter == 22
